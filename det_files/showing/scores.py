"""Scores of both models on the same rows, with intervals, by the metrics that fit the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from det_files.evaluation.bootstrap import compare, estimate
from det_files.evaluation.estimates import Difference, Estimate
from det_files.evaluation.fitting import fitting_metrics
from det_files.evaluation.metrics import PER_CENT, Score, Scored, Statistics, score, scores_of
from det_files.showing.asking import BothAnswered
from det_files.trained.model import BASE, TUNED

# What a task is about, where several scores fit: equality says little of free text.
_HEADLINES = ("final_answer_flexible", "chrf", "exact_match")


@dataclass(frozen=True)
class Compared:
    """One score of both models."""

    score: Score
    base: Estimate
    tuned: Estimate
    difference: Difference  # fine-tuned less base

    @property
    def title(self) -> str:
        """`exact match, %`."""
        name = self.score.name.replace("_", " ")
        return f"{name}, %" if self.score.unit == PER_CENT else name


def compare_scores(answered: BothAnswered, seed: int = 0) -> list[Compared]:
    """Returns the scores of answers, the one that the task is about first.

    Raises:
        ValueError: nothing was asked.
    """
    if not answered.questions:
        raise ValueError("nothing was asked: there is nothing to compare")
    base, tuned = (_rows(answered, which) for which in (BASE, TUNED))
    names = fitting_metrics(base)
    first, second = score(names, base), score(names, tuned)
    main = headline(first)
    known = scores_of(names)
    return [
        Compared(
            known[name],
            estimate(first[name], seed=seed),
            estimate(second[name], seed=seed),
            compare(first[name], second[name], seed=seed),
        )
        for name in sorted(first, key=lambda name: name != main)
    ]


def headline(found: Sequence[str] | Statistics) -> str:
    """The name of the score that a task is about, of those that there are."""
    return next((name for name in _HEADLINES if name in found), next(iter(found)))


def right_or_wrong(answered: BothAnswered, which: str) -> list[bool | None]:
    """Per answer, what the task's own score says; None where it is of degrees, or there is none."""
    rows = _rows(answered, which)
    if not answered.references:
        return [None] * len(rows)
    found = score(fitting_metrics(rows), rows)
    name = headline(found)
    if found[name].share_of is not None:
        return [bool(hit) for hit in found[name].rows[:, 0]]
    # Of texts nothing but equality is sure to be right.
    return [True if hit else None for hit in found["exact_match"].rows[:, 0]]


def _rows(answered: BothAnswered, which: str) -> list[Scored]:
    return [
        Scored(
            asked.shown,
            given.answer.text,
            asked.reference,
            given.answer.num_generated_tokens,
            not given.ended,
        )
        for asked, given in zip(answered.questions, answered.given[which], strict=True)
    ]
