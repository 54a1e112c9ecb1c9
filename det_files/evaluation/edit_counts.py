"""Counts of corrections: precision, recall and F of edits, and the choice among annotators.

Conventions are those of the scorers that published results use (m2scorer 3.2, ERRANT): without
proposed edits the precision is 1, without gold edits the recall is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True)
class SystemEdit:
    """Tokens `start` to before `end` of the source became `correction`; whether that is gold."""

    start: int
    end: int
    original: str
    correction: str
    correct: bool


@dataclass(frozen=True)
class ScoredSentence:
    """One sentence's counts against the annotator who was chosen, and the system's edits."""

    counts: EditCounts
    annotator: int
    edits: tuple[SystemEdit, ...]


@dataclass(frozen=True)
class CorrectionScore:
    """A scorer's sentences in order; their annotators were chosen for this beta."""

    sentences: tuple[ScoredSentence, ...]
    beta: float = BETA

    @cached_property
    def counts(self) -> EditCounts:
        return sum((sentence.counts for sentence in self.sentences), EditCounts())

    @property
    def precision(self) -> float:
        return self.counts.precision

    @property
    def recall(self) -> float:
        return self.counts.recall

    @property
    def f_score(self) -> float:
        return self.counts.f_score(self.beta)

    def rows(self) -> np.ndarray:
        """[N, 3]: correct, proposed and gold edits of each sentence, for intervals."""
        counts = [sentence.counts for sentence in self.sentences]
        rows = [(found.correct, found.proposed, found.gold) for found in counts]
        return np.array(rows, dtype=np.float64).reshape(-1, 3)
