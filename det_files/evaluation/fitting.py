"""Which metrics fit a set of rows, and what rows lack for those that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from det_files.evaluation.exact_match import parse_strictly
from det_files.evaluation.final_answer import MARKER, final_number
from det_files.evaluation.metrics import (
    GOLD,
    METRICS,
    PERPLEXITY,
    REFERENCE,
    TEXTS,
    TOKENS,
    Scored,
)
from det_files.faults import Faults


def fitting_metrics(
    rows: Sequence[Scored], *, gold: bool = False, texts: bool = False
) -> list[str]:
    """Returns the metrics to compute where none was named, by what the rows' references are.

    JSON objects and lists are compared as such; solutions that declare a number ("####") by it; any
    other text by its words and characters.

    Args:
        rows: their answers are not read.
        gold: whether there are gold corrections, which then are what counts.
        texts: whether there are texts for a perplexity.
    """
    names = ["m2"] if gold else _of_references([row.reference for row in rows])
    if rows and all(row.tokens is not None for row in rows):
        names.append("tokens")
    return names + ([PERPLEXITY] if texts else [])


def _of_references(references: Sequence[str | None]) -> list[str]:
    known = [reference for reference in references if reference is not None]
    if not known or len(known) < len(references):
        return ["length"] if references else []
    if all(isinstance(parse_strictly(text), dict | list) for text in known):
        return ["exact_match", "valid_json"]
    if all(MARKER in text and final_number(text) is not None for text in known):
        return ["final_answer"]
    return ["exact_match", "rouge", "bleu", "chrf"]


def find_unmet_needs(
    names: Iterable[str],
    rows: Sequence[Scored],
    places: Sequence[str],
    faults: Faults,
    *,
    gold: int | None = None,
    texts: bool = False,
    answers: str = "",
) -> None:
    """Notes what metrics lack: references, numbers in them, counts of tokens, gold, texts.

    Args:
        names: of METRICS.
        rows: to be scored; their answers are not read.
        places: of the rows, as a fault names them (`file:line`).
        gold: the number of gold sentences; None where there is no file of them.
        texts: whether there are texts for a perplexity.
        answers: the file of the answers, which a fault of their number names.
    """
    for name in names:
        needs = METRICS[name].needs
        if needs == GOLD and gold is None:
            faults.add("--m2", f"{name} needs a file of gold corrections")
        elif needs == GOLD and gold != len(rows):
            where = f" in {answers}" if answers else ""
            faults.add("--m2", f"has {gold} sentences, but there are {len(rows)} answers{where}")
        elif needs == TEXTS and not texts:
            faults.add("--perplexity-text", f"{name} needs a file of texts")
        for lacks, what in _row_needs(name):
            lacking = [place for place, row in zip(places, rows, strict=True) if lacks(row)]
            _note(lacking, f"{name} needs {what}", faults)


def _row_needs(name: str) -> list[tuple[Callable[[Scored], bool], str]]:
    """(whether a row lacks it, what) of each thing that a metric needs of every row."""
    needs = METRICS[name].needs
    found: list[tuple[Callable[[Scored], bool], str]] = []
    if needs == REFERENCE:
        found.append((_lacks_reference, "a reference, which this row lacks"))
    if needs == TOKENS:
        found.append((_lacks_tokens, "counts of tokens, which this row lacks"))
    if name == "final_answer":
        found.append((_lacks_number, "a number in the reference"))
    return found


def _lacks_reference(row: Scored) -> bool:
    return row.reference is None


def _lacks_tokens(row: Scored) -> bool:
    return row.tokens is None or row.cut_off is None


def _lacks_number(row: Scored) -> bool:
    return row.reference is not None and final_number(row.reference) is None


def _note(places: Sequence[str], reason: str, faults: Faults) -> None:
    """Notes one fault for all the places."""
    if places:
        more = len(places) - 1
        faults.add(places[0], reason + (f" (and {more} more)" if more else ""))
