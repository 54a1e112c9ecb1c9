"""Scores of answers that lie in files: one file, or two that answer the same rows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from det_files.evaluation.fitting import find_unmet_needs, fitting_metrics
from det_files.evaluation.m2_file import GoldSentence, read_m2
from det_files.evaluation.metrics import PERPLEXITY, score
from det_files.evaluation.predictions import (
    ANSWER,
    REFERENCE,
    Fields,
    Prediction,
    find_other_rows,
    name_in_files,
    read_predictions,
    to_record,
)
from det_files.evaluation.results import Measured, row_scores
from det_files.faults import ConfigError, Faults


def measure_files(options: argparse.Namespace, faults: Faults) -> tuple[list[str], list[Measured]]:
    """Returns the names of the metrics, and the statistics of each file.

    Args:
        options: of `arguments.parse`.
        faults: of its flags.

    Raises:
        ConfigError: these, and all that is wrong with the files.
    """
    files = [path for path in (options.predictions, options.predictions2) if path]
    fields = Fields(options.answer_field or ANSWER, options.reference_field or REFERENCE)
    read: list[list[Prediction]] = []
    for path in files:
        try:
            read.append(read_predictions(path, options.limit, fields))
        except ConfigError as error:
            faults.extend(error)
    gold = read_gold(options, faults)
    names: list[str] = options.metrics or []
    if len(read) == len(files) and not faults.found:
        names = names or fitting_metrics([p.scored for p in read[0]], gold=gold is not None)
        for path, found in zip(files, read, strict=True):
            _find_needs(names, path, found, gold, faults)
        if len(read) == 2 and (reason := find_other_rows(*read)):
            faults.add("--predictions2", reason)
    faults.raise_if_any()
    titles = _titles(files)
    return names, [_measure(t, names, found, gold) for t, found in zip(titles, read, strict=True)]


def _titles(files: Sequence[Path]) -> list[str]:
    """What tables and files of answers call each file; no two are the same in either."""
    for titles in ([path.name for path in files], [str(path) for path in files]):
        if len({name_in_files(title) for title in titles}) == len(files):
            return titles
    return ["predictions", "predictions2"]


def read_gold(options: argparse.Namespace, faults: Faults) -> list[GoldSentence] | None:
    """The (first `--limit`) sentences of `--m2`; None where there is none or it has faults."""
    if options.m2 is None:
        return None
    try:
        return read_m2(options.m2)[: options.limit]
    except ConfigError as error:
        faults.extend(error)
        return None


def _find_needs(
    names: list[str],
    path: Path,
    found: list[Prediction],
    gold: list[GoldSentence] | None,
    faults: Faults,
) -> None:
    rows, places = [p.scored for p in found], [p.place for p in found]
    count = None if gold is None else len(gold)
    if PERPLEXITY in names:
        faults.add("--metrics", f"{PERPLEXITY} is measured on a model, of which these are answers")
    rest = [name for name in names if name != PERPLEXITY]
    find_unmet_needs(rest, rows, places, faults, gold=count, answers=str(path))


def _measure(
    title: str, names: list[str], found: list[Prediction], gold: list[GoldSentence] | None
) -> Measured:
    statistics = score(names, [p.scored for p in found], gold or ())
    records = [
        to_record(p.row, p.scored, row_scores(statistics, place)) for place, p in enumerate(found)
    ]
    return Measured(title, statistics, records)
