"""Counts of corrections: precision, recall and F of edits, and the choice among annotators.

Conventions are those of the scorers that published results use (m2scorer 3.2, ERRANT): without
proposed edits the precision is 1, without gold edits the recall is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

BETA = 0.5  # precision weighs twice as much as recall, as since CoNLL-2014


@dataclass(frozen=True)
class EditCounts:
    """Numbers of edits of a sentence or of all: right ones, all the system's, all the gold's."""

    correct: int = 0
    proposed: int = 0
    gold: int = 0

    def __add__(self, other: EditCounts) -> EditCounts:
        return EditCounts(
            self.correct + other.correct, self.proposed + other.proposed, self.gold + other.gold
        )

    @property
    def precision(self) -> float:
        return self.correct / self.proposed if self.proposed else 1.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 1.0

    def f_score(self, beta: float = BETA) -> float:
        """F_beta: (1 + β²)·P·R / (β²·P + R); 1 where nothing was to be done and nothing was."""
        if not self.proposed and not self.gold:
            return 1.0
        weight = beta * beta
        return (1 + weight) * self.correct / (weight * self.gold + self.proposed)


def choose_annotator(total: EditCounts, choices: Sequence[EditCounts], beta: float = BETA) -> int:
    """Returns which of the annotators' counts, put to the total, makes the highest F_beta.

    Among equals more correct edits win, then fewer of the others (β² · gold + proposed), then the
    first: the rule of m2scorer 3.2. It depends on the sentences before, so their order matters.
    """

    def rank(number: int) -> tuple[float, int, float]:
        counts = total + choices[number]
        rest = counts.proposed + beta * beta * counts.gold
        return counts.f_score(beta), counts.correct, -rest

    return max(range(len(choices)), key=rank)


def total_of(sentences: Iterable[EditCounts]) -> EditCounts:
    """The sum over all sentences."""
    return sum(sentences, EditCounts())


def as_rows(sentences: Iterable[EditCounts]) -> np.ndarray:
    """[N, 3] of float64: correct, proposed and gold edits of each sentence."""
    rows = [(counts.correct, counts.proposed, counts.gold) for counts in sentences]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)
