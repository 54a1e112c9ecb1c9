"""Sufficient statistics: per row some numbers whose sums over any rows give the score of these.

N rows, K numbers each. A mean needs its value and 1, an F-measure three counts, a perplexity a loss
and its tokens. What resamples rows (`bootstrap`) then adds up numbers and reads no text again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from det_files.evaluation.edit_counts import BETA

# Sums, [..., K] → scores, [...].
Score = Callable[[np.ndarray], np.ndarray]
_LARGEST_EXPONENT = 700.0  # exp overflows a float at 709


@dataclass(frozen=True)
class RowStatistics:
    """[N, K] of float64, and the score of sums of them.

    `share_of` is set where the score is a share of rows, to what a share of 1 is shown as (1 or
    100): such a score has an interval of its own (`estimate_share`).
    """

    rows: np.ndarray
    score: Score
    share_of: float | None = None

    @property
    def value(self) -> float:
        """The score of all rows.

        Raises:
            ValueError: there are none.
        """
        if not len(self.rows):
            raise ValueError("no rows to score")
        return float(self.score(self.rows.sum(axis=0)))


def means(values: ArrayLike, scale: float = 1.0) -> RowStatistics:
    """The mean of the rows' values, times `scale`."""
    return ratios(values, np.ones(np.shape(values)), scale)


def shares(hits: Sequence[bool] | np.ndarray, scale: float = 1.0) -> RowStatistics:
    """The share of rows that are hits, times `scale`."""
    found = means(np.asarray(hits, dtype=bool), scale)
    return RowStatistics(found.rows, found.score, share_of=scale)


def ratios(numerators: ArrayLike, denominators: ArrayLike, scale: float = 1.0) -> RowStatistics:
    """Sum over sum, times `scale`: a mean whose rows weigh as much as they have of the second."""
    return RowStatistics(_columns(numerators, denominators), partial(_ratio, scale=scale))


def perplexities(losses: ArrayLike, tokens: ArrayLike) -> RowStatistics:
    """exp(sum of the rows' losses in nats / sum of their tokens); of characters just as well."""
    return RowStatistics(_columns(losses, tokens), _perplexity)


def per_cent(statistics: RowStatistics) -> RowStatistics:
    """The same score, whose best is 1, times 100."""
    share = None if statistics.share_of is None else 100 * statistics.share_of
    return RowStatistics(statistics.rows, partial(_per_cent, score=statistics.score), share)


def f_scores(counts: np.ndarray, beta: float = BETA) -> RowStatistics:
    """F_beta of [N, 3] counts, correct, proposed and gold, as `EditCounts.f_score`."""
    return RowStatistics(np.asarray(counts, dtype=np.float64), partial(_f_score, beta=beta))


def precisions(counts: np.ndarray) -> RowStatistics:
    """Correct of proposed, of [N, 3] counts."""
    rows = np.asarray(counts, dtype=np.float64)
    return RowStatistics(rows[:, [0, 1]], partial(_ratio, empty=1.0))


def recalls(counts: np.ndarray) -> RowStatistics:
    """Correct of gold, of [N, 3] counts."""
    rows = np.asarray(counts, dtype=np.float64)
    return RowStatistics(rows[:, [0, 2]], partial(_ratio, empty=1.0))


def _columns(*columns: ArrayLike) -> np.ndarray:
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=-1)


def _ratio(sums: np.ndarray, scale: float = 1.0, empty: float = 0.0) -> np.ndarray:
    over, under = sums[..., 0], sums[..., 1]
    found = np.divide(over, under, out=np.full_like(over, empty), where=under != 0)
    return scale * found


def _per_cent(sums: np.ndarray, score: Score) -> np.ndarray:
    return 100 * score(sums)


def _perplexity(sums: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(_ratio(sums), _LARGEST_EXPONENT))


def _f_score(sums: np.ndarray, beta: float) -> np.ndarray:
    correct, proposed, gold = np.moveaxis(sums, -1, 0)
    weight = beta * beta
    pairs = np.stack([(1 + weight) * correct, weight * gold + proposed], axis=-1)
    return _ratio(pairs, empty=1.0)
