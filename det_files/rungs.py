"""Asynchronous successive halving as Determined 0.38 counts it: brackets, rungs, who goes on.

ASHA (Li et al., arXiv:1810.05934) in its stopping form: a trial that reaches a rung goes on while
it is among the best 1/divisor of those that came there before it. Adaptive ASHA runs several
brackets of it that start with rungs of different lengths. The numbers are those of the master's
`pkg/searcher` (`adaptive_asha.go`, `asha_stopping.go`), its float arithmetic included.

A rung's `units` are those of the searcher's `time_metric`: batches (optimizer steps) or epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HALVING = ("adaptive_asha", "async_halving")
# Determined's defaults, for what a file leaves out.
DIVISOR, MAX_RUNGS, MODE, MAX_CONCURRENT_TRIALS = 4, 5, "standard", 16
# What is reported of a metric that is no number any more: the master knows no infinity, and fails a
# whole search over a metric that is missing.
WORST = 3.0e38
_FEWEST_RUNGS = {
    "aggressive": lambda most: most,
    "standard": lambda most: (most - 1) // 2 + 1,
    "conservative": lambda most: 1,
}


@dataclass(frozen=True)
class Bracket:
    """A share of the trials; `rungs` in rising order, empty where nothing stops a trial.

    At most `concurrent` of its trials are under way at a time.
    """

    rungs: tuple[int, ...]
    trials: int
    concurrent: int


def brackets(searcher: Mapping[str, Any]) -> list[Bracket]:
    """The brackets of a halving searcher's section, most rungs first.

    Every value must be of its type; `max_length` (0.37's form) stands in for a missing `max_time`.
    """
    limit, trials = time_limit(searcher), searcher["max_trials"]
    divisor = float(_given(searcher, "divisor", DIVISOR))
    counts = _rung_counts(searcher, limit, divisor)
    shares = _shares(trials, divisor, counts)
    concurrent = _concurrent(searcher, divisor, counts, shares)
    return [
        Bracket(rung_units(limit, divisor, count), share, min(at_once, share))
        for count, share, at_once in zip(counts, shares, concurrent, strict=True)
    ]


def all_brackets(searcher: Mapping[str, Any], points: int) -> list[Bracket]:
    """The brackets of any search; random, and a grid of `points`, have one that stops nothing."""
    if searcher["name"] in HALVING:
        return brackets(searcher)
    trials = points if searcher["name"] == "grid" else searcher["max_trials"]
    at_once = _given(searcher, "max_concurrent_trials", MAX_CONCURRENT_TRIALS)
    return [Bracket((), trials, min(at_once or trials, trials))]


def rung_units(limit: int, divisor: float, count: int) -> tuple[int, ...]:
    """The lengths of `count` rungs: the last is the limit, each before it 1/divisor of the next."""
    return tuple(max(int(limit / divisor**power), 1) for power in range(count - 1, -1, -1))


def goes_on(value: float, others: Sequence[float], divisor: float) -> bool:
    """Whether a trial with this metric goes on from a rung that the others have reached.

    Smaller is better; the first of equals is the newcomer. The top rung is not asked: it ends
    every trial.
    """
    place = sum(other < value for other in others)
    return place < max(int((len(others) + 1) / divisor), 1)


def decision_points(searcher: Mapping[str, Any]) -> tuple[int, ...]:
    """Every length at which some trial of the search is decided upon; none without halving.

    The brackets' rungs are nested, so these are the rungs of the longest. A trial does not know its
    bracket and is validated at each of them.
    """
    if searcher.get("name") not in HALVING:
        return ()
    return tuple(sorted({units for bracket in brackets(searcher) for units in bracket.rungs}))


def smaller_is_better(searcher: Mapping[str, Any]) -> bool:
    """The metric's direction; Determined's default, also for an empty value, is true."""
    return searcher.get("smaller_is_better") is not False


def time_limit(searcher: Mapping[str, Any]) -> int:
    """`max_time`, or 0.37's `max_length` in whatever unit it is given."""
    limit = _given(searcher, "max_time", searcher.get("max_length"))
    return next(iter(limit.values())) if isinstance(limit, Mapping) else limit


def time_metric(searcher: Mapping[str, Any]) -> str:
    """The metric that rungs are counted in: batches or epochs."""
    length = searcher.get("max_length")
    unit = next(iter(length)) if isinstance(length, Mapping) and length else "batches"
    return _given(searcher, "time_metric", unit)


def _given(searcher: Mapping[str, Any], key: str, default: Any) -> Any:
    return default if searcher.get(key) is None else searcher[key]


def _rung_counts(searcher: Mapping[str, Any], limit: int, divisor: float) -> list[int]:
    if searcher["name"] == "async_halving":
        return [searcher["num_rungs"]]
    if searcher.get("bracket_rungs"):
        return sorted(searcher["bracket_rungs"], reverse=True)
    most = min(
        _given(searcher, "max_rungs", MAX_RUNGS),
        int(math.log(limit) / math.log(divisor)) + 1,
        int(math.log(searcher["max_trials"]) / math.log(divisor)) + 1,
    )
    fewest = _FEWEST_RUNGS[_given(searcher, "mode", MODE)](most)
    return list(range(most, fewest - 1, -1))


def _shares(trials: int, divisor: float, counts: Sequence[int]) -> list[int]:
    """Trials of each bracket, so that all brackets train for about as many units in all."""
    weights = [divisor ** (count - 1) / count for count in counts]
    shares = [max(int(weight / sum(weights) * trials), 1) for weight in weights]
    shares[0] += max(trials - sum(shares), 0)
    return shares


def _concurrent(
    searcher: Mapping[str, Any], divisor: float, counts: Sequence[int], shares: Sequence[int]
) -> list[int]:
    at_once = _given(searcher, "max_concurrent_trials", MAX_CONCURRENT_TRIALS)
    if at_once == 0:  # Determined's own choice
        if searcher["name"] == "async_halving":
            return [max(int(divisor ** (counts[0] - 1)), 1)]
        return [max(shares[-1], int(divisor))] * len(shares)
    each, more = divmod(max(at_once, len(shares)), len(shares))
    return [each + (index < more) for index in range(len(shares))]
