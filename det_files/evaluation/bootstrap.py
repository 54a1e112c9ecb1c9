"""Intervals of scores, and whether two models differ, by resampling the rows of a test set.

Pure and seeded: the same rows and seed give the same numbers. N rows, K statistics each, R
resamples. A resample is how often it has each row, so that R of them are one product, [R, N] by
[N, K], made in parts that fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from det_files.evaluation.estimates import CONFIDENCE, Difference, Estimate, estimate_share
from det_files.evaluation.row_statistics import RowStatistics

RESAMPLES = 2000
_PART = 2**21  # elements of a part's [R, N]


def estimate(
    statistics: RowStatistics,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimate:
    """Returns the score of all rows with its interval.

    Of a share of rows it is Wilson's; of any other score the percentile interval of the bootstrap
    (Efron 1979; for corpus scores Koehn 2004, "Statistical Significance Tests for Machine
    Translation Evaluation").

    Raises:
        ValueError: there are no rows.
    """
    value, count = statistics.value, len(statistics.rows)
    if statistics.share_of is not None:
        hits = round(float(statistics.rows[:, 0].sum()))
        return estimate_share(hits, count, scale=statistics.share_of, confidence=confidence)
    scores = statistics.score(_resampled(statistics.rows, resamples, seed))
    return Estimate(value, *_percentiles(scores, confidence), count)


def compare(
    first: RowStatistics,
    second: RowStatistics,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Difference:
    """Returns the second model's score less the first's; row `i` of both answers the same question.

    The interval is that of a paired bootstrap: both models' scores on the same resampled rows. The
    p-value is of approximate randomisation (Noreen 1989; Riezler and Maxwell 2005): how often the
    difference is as large when each row's answers change sides by a coin; at least 1 / (R + 1).

    Raises:
        ValueError: there are no rows, or not as many of both.
    """
    if first.rows.shape != second.rows.shape:
        raise ValueError(f"statistics of {first.rows.shape} against {second.rows.shape} rows")
    value, count = second.value - first.value, len(first.rows)
    sums = _resampled(np.concatenate([first.rows, second.rows], axis=1), resamples, seed)
    mine, other = np.split(sums, 2, axis=1)
    low, high = _percentiles(second.score(other) - first.score(mine), confidence)
    p_value = _randomised(first, second, value, resamples, seed + 1)
    return Difference(value, low, high, count, p_value)


def _randomised(
    first: RowStatistics, second: RowStatistics, value: float, resamples: int, seed: int
) -> float:
    moved = _products(second.rows - first.rows, resamples, seed, _coins)
    mine, other = first.rows.sum(axis=0) + moved, second.rows.sum(axis=0) - moved
    differences = np.abs(second.score(other) - first.score(mine))
    # Sums of the same numbers in another order may differ in their last digits.
    as_large = differences >= abs(value) * (1 - 1e-9) - 1e-12
    return float(1 + as_large.sum()) / (1 + resamples)


def _resampled(rows: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """[R, K]: sums of the rows of each resample."""
    return _products(rows, resamples, seed, _draws)


Weights = Callable[[np.random.Generator, int, int], np.ndarray]


def _products(rows: np.ndarray, resamples: int, seed: int, weights: Weights) -> np.ndarray:
    """[R, K]: rows weighted by [R, N] random weights and added up."""
    generator = np.random.default_rng(seed)
    parts = [weights(generator, size, len(rows)) @ rows for size in _parts(resamples, len(rows))]
    return np.concatenate(parts)


def _parts(resamples: int, rows: int) -> Iterator[int]:
    size = max(1, _PART // rows)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _draws(generator: np.random.Generator, resamples: int, rows: int) -> np.ndarray:
    """[R, N] of float64: how often each row is drawn, N times with replacement."""
    drawn = generator.integers(rows, size=(resamples, rows), dtype=np.int64)
    drawn += rows * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * rows)
    return counts.reshape(resamples, rows).astype(np.float64)


def _coins(generator: np.random.Generator, resamples: int, rows: int) -> np.ndarray:
    """[R, N] of float64: 1 where a row's answers change sides."""
    return generator.integers(2, size=(resamples, rows), dtype=np.int8).astype(np.float64)


def _percentiles(scores: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(scores, [tail, 100 - tail])
    return float(low), float(high)
