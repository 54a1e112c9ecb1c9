"""Where values of a hyperparameter or a metric lie on an axis from 0 to 1, and its ticks.

Numbers lie on a linear scale, or on a logarithmic one where they span two decades or are few and
evenly apart there (4, 8, 16, 32); anything else (texts, bools, numbers among texts) are categories.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.ticker import MaxNLocator

from det_files.local.short_text import finite, short_value

LOGARITHMIC_FROM = 100.0  # the largest value over the smallest
FEW_VALUES = 8
LONGEST_TICK = 5  # characters of a value at which a tick can stand: "16", "1e-4", not "1.234e-4"
CATEGORIES_NAMED = 12


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, or of `categories` where there are some; empty with neither."""

    low: float = math.nan
    high: float = math.nan
    is_logarithmic: bool = False
    categories: tuple[str, ...] = ()
    values: tuple[float, ...] = ()  # all of them, where they are few and round: ticks stand there

    def position(self, value: Any) -> float | None:
        """Returns where the value lies: 0 to 1 and not beyond; None for no value of this axis."""
        if self.categories:
            text = short_value(value)
            if text not in self.categories:
                return None
            return _even(self.categories.index(text), len(self.categories))
        number = finite(value)
        if number is None or math.isnan(self.low) or (self.is_logarithmic and number <= 0):
            return None
        low, high, at = self.low, self.high, number
        if self.is_logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return 0.5 if high == low else min(1.0, max(0.0, (at - low) / (high - low)))

    def ticks(self, nearest: float = 0.07, longest: int = 14) -> list[tuple[float, str]]:
        """Returns (position, text) of the ticks.

        Args:
            nearest: Least distance between two ticks, of the axis's length.
            longest: Characters of a category.
        """
        if self.categories:
            step = -(-len(self.categories) // CATEGORIES_NAMED)
            return [
                (_even(place, len(self.categories)), short_value(text, longest))
                for place, text in enumerate(self.categories)
                if place % step == 0
            ]
        if math.isnan(self.low):
            return []
        if self.low == self.high:
            return [(0.5, short_value(self.low))]
        chosen = [*self.values] or self._round_values()
        texts = distinct_texts(chosen)
        ticks: list[tuple[float, str]] = []
        for value, text in zip(chosen, texts, strict=True):
            position = self.position(value) or 0.0
            if not ticks or position - ticks[-1][0] >= nearest:
                ticks.append((position, text))
        return ticks

    def _round_values(self) -> list[float]:
        if self.is_logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            step = -(-(last - first + 1) // 8)
            return [10.0**exponent for exponent in range(first, last + 1, step)]
        locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
        inside = [v for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]
        return inside if len(inside) > 1 else [self.low, self.high]


def scale_of(values: Iterable[Any]) -> Scale:
    """Returns the scale on which all values lie; those of trials that lack it are not given."""
    given = list(values)
    numbers = [number for value in given if (number := finite(value)) is not None]
    # A value that is no number makes categories of all, but for a null or a NaN among numbers:
    # that is none of the values.
    others = [value for value in given if isinstance(value, str | bool)]
    if not given:
        return Scale()
    if others or not numbers:
        return Scale(categories=_categories(given))
    distinct = sorted(set(numbers))
    low, high = distinct[0], distinct[-1]
    is_wide = low > 0 and high / low >= LOGARITHMIC_FROM
    are_few = len(distinct) <= FEW_VALUES
    are_round = all(len(short_value(v)) <= LONGEST_TICK for v in distinct)
    return Scale(
        low,
        high,
        is_logarithmic=is_wide or (are_few and _is_geometric(distinct)),
        values=tuple(distinct) if are_few and are_round else (),
    )


def _is_geometric(values: Sequence[float]) -> bool:
    """Whether the nearest two of the ascending values lie farther apart on a logarithmic scale."""
    if len(values) < 4 or values[0] <= 0 or not math.isfinite(values[-1] / values[0]):
        return False
    span, logarithmic_span = values[-1] - values[0], math.log(values[-1] / values[0])
    gaps = [(b - a) / span for a, b in pairwise(values)]
    logarithmic_gaps = [math.log(b / a) / logarithmic_span for a, b in pairwise(values)]
    return min(logarithmic_gaps) > 1.5 * min(gaps)


def distinct_texts(values: Sequence[float]) -> list[str]:
    """Returns the values in as few digits as tell them apart."""
    texts = [short_value(value) for value in values]
    for digits in range(5, 16):
        if len(set(texts)) == len(set(values)):
            break
        texts = [f"{value:.{digits}g}" for value in values]
    return texts


def _categories(values: Sequence[Any]) -> tuple[str, ...]:
    """Returns the values as texts: numbers by size, then texts by alphabet, null last."""

    def key(value: Any) -> tuple[int, float, str]:
        number = finite(value)
        return (2 if value is None else number is None, number or 0.0, short_value(value))

    return tuple(dict.fromkeys(short_value(value) for value in sorted(values, key=key)))


def _even(place: int, count: int) -> float:
    return 0.5 if count == 1 else place / (count - 1)
