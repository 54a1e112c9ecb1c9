"""Scores with what is not known of them: intervals, differences, and the interval of a share.

A table of results, a report and a notebook show these; `to_dict` is what JSON holds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A score of `rows` rows and the ends of its interval, in the score's own unit."""

    value: float
    low: float
    high: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def show(self, digits: int = 1) -> str:
        """`45.2 [41.0, 49.3]`."""
        value, low, high = (f"{number:.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Difference(Estimate):
    """The second model's score less the first's on the same rows, with its interval.

    `p_value` (two-sided): how often models that are alike would differ by as much.
    """

    p_value: float

    def show(self, digits: int = 1) -> str:
        """`+4.2 [+1.0, +7.3], p = 0.012`."""
        value, low, high = (f"{number:+.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}], p = {self.p_value:.2g}"


def estimate_share(
    hits: int, rows: int, *, scale: float = 1.0, confidence: float = CONFIDENCE
) -> Estimate:
    """Returns a share of rows with Wilson's score interval (1927), times `scale` (100: per cent).

    It holds where a bootstrap has nothing to draw: 0 of 200 is 0 to 1.9 %, not 0 to 0.

    Raises:
        ValueError: no rows, or not 0 to `rows` hits.
    """
    if not 0 <= hits <= rows or not rows:
        raise ValueError(f"{hits} hits of {rows} rows")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, widening = hits / rows, 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / widening
    half = z * math.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / widening
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == rows else middle + half
    return Estimate(scale * share, scale * low, scale * high, rows)
