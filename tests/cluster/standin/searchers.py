"""Determined's search methods, as far as the lives need them: 0.38's and 0.37's.

A method is told what happened to its trials and answers with actions. Trials are numbered by it,
from 0. Arithmetic as in the master's `pkg/searcher`: 0.38 stops trials (`asha_stopping.go`), 0.37
hands out operations and promotes (`asha.go`, `adaptive_asha.go`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Create:
    """A new trial is wanted; its hyperparameters are drawn where the searcher names none."""

    number: int
    hparams: dict[str, Any] | None = None


@dataclass(frozen=True)
class Stop:
    """0.38: the trial need not go on."""

    number: int


@dataclass(frozen=True)
class ValidateAfter:
    """0.37: the trial is to be trained up to `length` units, then validated."""

    number: int
    length: int


@dataclass(frozen=True)
class Close:
    """0.37: the trial will get no more operations."""

    number: int


@dataclass(frozen=True)
class Shutdown:
    """0.37: a custom searcher has ended its experiment."""

    failure: bool


Action = Create | Stop | ValidateAfter | Close | Shutdown


class SearcherFailed(Exception):
    """What sends the whole experiment to error."""


class Method:
    """single, random and grid: `count` trials, each trained to its own end."""

    finished = True  # once all trials that were created have ended

    def __init__(self, count: int, concurrent: int, length: int | None) -> None:
        self._left, self._length, self.created = count, length, 0
        self._concurrent = min(concurrent or 16, count)

    def start(self) -> list[Action]:
        return [action for _ in range(self._concurrent) for action in self._create()]

    def _create(self) -> list[Action]:
        if self._left == 0:
            return []
        self._left -= 1
        number, self.created = self.created, self.created + 1
        operations = [ValidateAfter(number, self._length)] if self._length else []
        return [Create(number), *operations]

    def validated(self, number: int, metrics: Mapping[str, Any]) -> list[Action]:
        """0.38: validation metrics have arrived."""
        return []

    def completed(self, number: int, metric: Any) -> list[Action]:
        """0.37: the trial has completed its operation."""
        return [Close(number)]

    def progressed(self, number: int, progress: float) -> None:
        """The trial has said how far it has come."""

    def exited(self, number: int, failed: bool) -> list[Action]:
        return self._create()


def brackets(searcher: Mapping[str, Any], limit: int) -> list[tuple[int, int]]:
    """(rungs, trials) of every bracket of adaptive ASHA, most rungs first."""
    divisor, trials = searcher.get("divisor", 4), searcher["max_trials"]
    rungs = min(
        searcher.get("max_rungs", 5),
        int(math.log(limit, divisor)) + 1,
        int(math.log(trials, divisor)) + 1,
    )
    fewest = {"aggressive": rungs, "standard": (rungs - 1) // 2 + 1, "conservative": 1}
    counts = list(range(rungs, fewest[searcher.get("mode", "standard")] - 1, -1))
    if searcher["name"] == "async_halving":
        counts = [searcher["num_rungs"]]
    weights = [divisor ** (n - 1) / n for n in counts]
    shares = [max(int(weight / sum(weights) * trials), 1) for weight in weights]
    shares[0] += max(trials - sum(shares), 0)
    return list(zip(counts, shares, strict=True))


@dataclass
class Rung:
    units: int
    metrics: list[tuple[float, int]] = field(default_factory=list)
    promoted: set[int] = field(default_factory=set)
    outstanding: int = 0

    def insert(self, number: int, metric: float) -> int:
        """The place of a new metric among those of the rung; ties favour the newcomer."""
        place = sum(other < metric for other, _ in self.metrics)
        self.metrics.insert(place, (metric, number))
        return place


class StoppingBracket:
    """0.38: a trial goes on while it is among the best 1/d of every rung that it reaches."""

    def __init__(self, rungs: int, limit: int, divisor: float) -> None:
        powers = range(rungs - 1, -1, -1)
        self._rungs = [Rung(max(int(limit / divisor**power), 1)) for power in powers]
        self._divisor, self._reached = divisor, dict[int, int]()

    def stops(self, number: int, time: float, metric: float) -> bool:
        for index in range(self._reached.get(number, 0), len(self._rungs)):
            rung = self._rungs[index]
            if time < rung.units:
                return False
            self._reached[number] = index + 1
            place = rung.insert(number, metric)
            if index == len(self._rungs) - 1:
                return True
            if place >= max(int(len(rung.metrics) / self._divisor), 1):
                return True
        return False


class StoppingAsha(Method):
    """0.38's adaptive ASHA and asynchronous halving."""

    def __init__(self, searcher: Mapping[str, Any]) -> None:
        limit, self._config = searcher["max_time"], searcher
        parts = brackets(searcher, limit)
        divisor = searcher.get("divisor", 4)
        self._brackets = [StoppingBracket(rungs, limit, divisor) for rungs, _ in parts]
        # The trials of all brackets are created in turn, as their shares allow.
        shares = [trials for _, trials in parts]
        self._turns = [i for turn in range(max(shares)) for i, n in enumerate(shares) if turn < n]
        self._stopped: set[int] = set()
        super().__init__(sum(shares), searcher.get("max_concurrent_trials", 16), None)

    def validated(self, number: int, metrics: Mapping[str, Any]) -> list[Action]:
        sign = 1 if self._config.get("smaller_is_better", True) else -1
        values = []
        for name in (self._config["time_metric"], self._config["metric"]):
            if not isinstance(metrics.get(name), int | float):
                raise SearcherFailed(f"no number for {name} in {sorted(metrics)}")
            values.append(float(metrics[name]))
        # (A stopped trial that trains on enters the rungs again, as on the real master.)
        if not self._brackets[self._turns[number]].stops(number, values[0], sign * values[1]):
            return []
        self._stopped.add(number)
        return [Stop(number), *self._create()]

    def exited(self, number: int, failed: bool) -> list[Action]:
        if number in self._stopped or not failed:
            return []  # one that ends by itself is not replaced
        self._stopped.add(number)
        self._brackets[self._turns[number]].stops(number, math.inf, math.inf)
        return self._create()


class PromotingAsha(Method):
    """0.37's asynchronous halving by promotion, in one bracket, rungs cumulative."""

    def __init__(self, searcher: Mapping[str, Any]) -> None:
        length = searcher["max_length"]
        limit = length if isinstance(length, int) else next(iter(length.values()))
        (rungs, trials), *_ = brackets(searcher, limit)
        self._divisor, self._config = searcher.get("divisor", 4), searcher
        self._rungs, reached = [], 0
        for power in range(rungs - 1, -1, -1):
            reached += max(int(limit / self._divisor**power), 1)
            self._rungs.append(Rung(reached))
        self._at: dict[int, int] = {}
        self._closed: set[int] = set()
        self._max_trials = trials
        super().__init__(trials, searcher.get("max_concurrent_trials", 16), self._rungs[0].units)

    def _create(self) -> list[Action]:
        actions = super()._create()
        if actions:
            self._at[self.created - 1] = 0
            self._rungs[0].outstanding += 1
        return actions

    def completed(self, number: int, metric: Any) -> list[Action]:
        if not isinstance(metric, int | float):
            raise SearcherFailed(f"unexpected metric type: {metric!r}")
        index = self._at[number]
        rung, actions = self._rungs[index], list[Action]()
        rung.outstanding -= 1
        place = rung.insert(number, metric)
        if index + 1 == len(self._rungs):
            actions.append(self._close(number))
        else:
            best = int(len(rung.metrics) / self._divisor)
            ready = (
                []
                if place >= best and best == int((len(rung.metrics) - 1) / self._divisor)
                else [other for _, other in rung.metrics[:best] if other not in rung.promoted]
            )
            for other in ready[:1]:
                rung.promoted.add(other)
                self._at[other] = index + 1
                self._rungs[index + 1].outstanding += 1
                actions.append(ValidateAfter(other, self._rungs[index + 1].units))
        if not actions:
            actions += self._create()
        if len(self._rungs[0].metrics) == self._max_trials:
            actions += self._close_out()
        return actions

    def _close(self, number: int) -> Close:
        self._closed.add(number)
        return Close(number)

    def _close_out(self) -> list[Action]:
        actions: list[Action] = []
        for rung in self._rungs:
            if rung.outstanding:
                break
            for _, number in rung.metrics:
                if number not in rung.promoted and number not in self._closed:
                    actions.append(self._close(number))
        return actions

    def exited(self, number: int, failed: bool) -> list[Action]:
        if number in self._closed or not failed:
            return []
        self._closed.add(number)
        return self.completed(number, math.inf)


def make_method(searcher: Mapping[str, Any], count: int, operations: bool) -> Method:
    """The search method of a searcher section; `count` trials for single, random and grid."""
    if searcher["name"] in ("adaptive_asha", "async_halving"):
        return PromotingAsha(searcher) if operations else StoppingAsha(searcher)
    length = searcher.get("max_length")
    if isinstance(length, Mapping):
        length = next(iter(length.values()))
    if operations and length is None:
        raise SearcherFailed("searcher.max_length is required")
    return Method(count, searcher.get("max_concurrent_trials", 16), length if operations else None)
