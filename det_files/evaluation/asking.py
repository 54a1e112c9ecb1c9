"""What models are asked in an evaluation: rows, texts and gold, checked before one is loaded."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from det_files.data.arguments import DataArguments
from det_files.data.rows import is_text
from det_files.evaluation.arguments import model_names
from det_files.evaluation.fitting import find_unmet_needs, fitting_metrics
from det_files.evaluation.from_files import read_gold
from det_files.evaluation.m2_file import GoldSentence
from det_files.evaluation.metrics import PERPLEXITY, Scored
from det_files.evaluation.questions import AskedRow, read_file, read_split
from det_files.faults import ConfigError, Faults
from det_files.models import SEQ2SEQ
from det_files.trained.checkpoint import TrainedCheckpoint, open_checkpoint
from det_files.trained.locating import locate
from det_files.trained.model import TUNED, answering_data, data_from_here, find_missing_base
from det_files.trained.prompts import choose_source


@dataclass(frozen=True)
class Asked:
    """All that is needed but a model.

    Attributes:
        checkpoint: the first one.
        other: the second one, of `--compare`.
        rows: to be answered; none where texts alone are scored.
        texts: documents for the perplexity.
        gold: the corrections of the rows, where there are any.
        metrics: names of METRICS, of answers and of texts.
    """

    checkpoint: TrainedCheckpoint
    other: TrainedCheckpoint | None
    rows: Sequence[AskedRow]
    texts: Sequence[str]
    gold: Sequence[GoldSentence]
    metrics: Sequence[str]

    @property
    def answer_metrics(self) -> list[str]:
        return [name for name in self.metrics if name != PERPLEXITY]

    def facts(self) -> dict[str, Any]:
        """What the JSON of results says of it."""
        found: dict[str, Any] = checkpoint_facts(self.checkpoint)
        if self.other is not None:
            found["other"] = checkpoint_facts(self.other)
        return found | {"rows": len(self.rows), "texts": len(self.texts)}


def checkpoint_facts(checkpoint: TrainedCheckpoint) -> dict[str, Any]:
    """Where a checkpoint lies, what it was trained from and how, and after how many steps."""
    return {
        "checkpoint": str(checkpoint.path),
        "steps": checkpoint.state.get("global_step"),
        "method": checkpoint.method,
        "base_model": checkpoint.model.source,
        "dtype": checkpoint.model.dtype,
    }


def read_asked(options: argparse.Namespace, faults: Faults) -> Asked:
    """Returns what the options of `arguments.parse` ask for.

    Args:
        options: see there.
        faults: of the flags.

    Raises:
        ConfigError: these, and all that is wrong with checkpoints, files and rows.
    """
    checkpoint = _open(options.checkpoint, faults)
    other = _open(options.compare, faults)
    gold = read_gold(options, faults)
    texts = _read_texts(options, faults)
    rows: list[AskedRow] = []
    if checkpoint is not None and not (texts and options.metrics == [PERPLEXITY]):
        try:
            rows = _read_rows(options, checkpoint, gold)
        except ConfigError as error:
            faults.extend(error)
    _find_mixed(rows, faults)
    if rows and is_text(rows[0].row):
        texts, rows = texts or [row.shown for row in rows], []
    metrics = _settle_metrics(options, rows, texts, gold, faults)
    for one, answering in ((checkpoint, model_names(options)), (other, [TUNED])):
        if one is None:
            continue
        find_missing_base(one, answering, faults)
        if one.kind == SEQ2SEQ and PERPLEXITY in metrics:
            faults.add(str(one.path), "is an encoder-decoder, which has no perplexity")
    faults.raise_if_any()
    assert checkpoint is not None  # else there was a fault
    return Asked(checkpoint, other, rows, texts, gold or (), metrics)


def _find_mixed(rows: Sequence[AskedRow], faults: Faults) -> None:
    """Notes rows of which some are answered and others read."""
    kinds = {is_text(row.row): row.place for row in rows}
    if len(kinds) > 1:
        reason = f"{kinds[True]} is plain text, and {kinds[False]} is not: evaluate them apart"
        faults.add("--source", reason)


def _open(name: str | None, faults: Faults) -> TrainedCheckpoint | None:
    if name is None:
        return None
    try:
        found = open_checkpoint(locate(name))
        answering_data(found)  # a reward model gives no answers
        return found
    except ConfigError as error:
        faults.extend(error)
        return None


def _read_texts(options: argparse.Namespace, faults: Faults) -> list[str]:
    """The documents of `--perplexity-text`: a *.txt whole, or the rows of "text" of another."""
    if options.perplexity_text is None:
        return []
    try:
        source = choose_source(DataArguments(), None)
        rows = read_file(options.perplexity_text, source)
    except ConfigError as error:
        faults.extend(error)
        return []
    other = next((row for row in rows if not is_text(row.row)), None)
    if other is not None:
        faults.add("--perplexity-text", f'{other.place}: expected a row of "text"')
    return [row.shown for row in rows]


def _read_rows(
    options: argparse.Namespace, checkpoint: TrainedCheckpoint, gold: list[GoldSentence] | None
) -> list[AskedRow]:
    data = data_from_here(checkpoint)
    if options.data is None and options.m2 is None:
        if options.source is not None:
            data = dataclasses.replace(data, sources=[choose_source(data, options.source)])
        return read_split(data, options.split or "test", options.limit)
    source = choose_source(data, options.source)
    if options.data is not None:
        return read_file(options.data, source, options.limit)
    return [
        AskedRow({"input": sentence.source}, f"{options.m2}, line {sentence.line}", source)
        for sentence in gold or ()
    ]


def _settle_metrics(
    options: argparse.Namespace,
    rows: Sequence[AskedRow],
    texts: Sequence[str],
    gold: Sequence[GoldSentence] | None,
    faults: Faults,
) -> list[str]:
    """The metrics that were named, or those that fit."""
    # Counts of tokens come with the answers.
    unanswered = [Scored(row.shown, "", row.answer, 0, False) for row in rows]
    known = gold is not None
    names: list[str] = options.metrics or fitting_metrics(unanswered, gold=known, texts=bool(texts))
    if faults.found:  # what is lacking may be what could not be read
        return names
    places, count = [row.place for row in rows], len(gold) if gold is not None else None
    find_unmet_needs(names, unanswered, places, faults, gold=count, texts=bool(texts))
    if not rows and (answered := [name for name in names if name != PERPLEXITY]):
        faults.add("--metrics", f"plain text is not answered: {', '.join(answered)}")
    return names
