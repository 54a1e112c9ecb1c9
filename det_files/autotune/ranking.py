"""What an autotuning has found: its configurations ranked, and how sure the first place is."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import mean, pvariance

from det_files.autotune.space import Candidate
from det_files.autotune.strategy import MEASURED
from det_files.memory.estimate import GIBIBYTE

# Standard errors by which two configurations must differ to be told apart.
TOLD_APART = 2.0


@dataclass(frozen=True)
class Measurement:
    """One trial that has ended: throughput and its spread in tokens a second, memory in bytes."""

    trial: int
    candidate: Candidate
    outcome: str
    throughput: float = 0.0
    spread: float = 0.0
    peak_memory: float = 0.0


@dataclass(frozen=True)
class Ranked:
    """A configuration with the means of its trials; `error` is the standard error of `throughput`.

    The error is the larger of what steps within trials and what repeated trials say.
    """

    candidate: Candidate
    outcome: str
    trials: tuple[int, ...]
    throughput: float = 0.0
    error: float = 0.0
    peak_memory: float = 0.0


def rank(measurements: Sequence[Measurement], smallest_memory: bool = False) -> list[Ranked]:
    """The configurations, best first; those that were not measured come last."""
    groups: dict[Candidate, list[Measurement]] = {}
    for one in measurements:
        groups.setdefault(one.candidate, []).append(one)
    between = _between(groups.values())
    ranked = [_ranked(group, between) for group in groups.values()]

    def place(one: Ranked) -> tuple[bool, float]:
        value = one.peak_memory if smallest_memory else -one.throughput
        return (one.outcome != MEASURED, value)

    return sorted(ranked, key=place)


def _ranked(group: Sequence[Measurement], between: float) -> Ranked:
    measured = [one for one in group if one.outcome == MEASURED]
    trials = tuple(one.trial for one in group)
    if not measured:
        return Ranked(group[0].candidate, group[0].outcome, trials)
    throughput = mean(one.throughput for one in measured)
    within = math.sqrt(mean(one.spread**2 for one in measured))
    error = max(within, between * throughput) / math.sqrt(len(measured))
    memory = max(one.peak_memory for one in measured)
    return Ranked(group[0].candidate, MEASURED, trials, throughput, error, memory)


def _between(groups: Collection[Sequence[Measurement]]) -> float:
    """Relative standard deviation of trials of one configuration, pooled; 0 where none repeats."""
    squares, degrees = 0.0, 0
    for group in groups:
        values = [one.throughput for one in group if one.outcome == MEASURED]
        if len(values) > 1 and mean(values) > 0:
            squares += pvariance(values) * len(values) / mean(values) ** 2
            degrees += len(values) - 1
    return math.sqrt(squares / degrees) if degrees else 0.0


def confidence(ranked: Sequence[Ranked], smallest_memory: bool = False) -> str:
    """One sentence on how sure the first place is; ± is one standard error."""
    measured = [one for one in ranked if one.outcome == MEASURED]
    if not measured:
        return "nothing could be measured"
    if len(measured) == 1:
        return "the only configuration that was measured"
    first, second = measured[:2]
    memory = f"{_gib(first)} against {_gib(second)}"
    if smallest_memory:
        share = second.peak_memory / first.peak_memory - 1
        return f"the second ({second.candidate}) needs {share:.1%} more: {memory}"
    share = first.throughput / second.throughput - 1
    relative = math.hypot(first.error / first.throughput, second.error / second.throughput)
    relative *= 1 + share
    if share > TOLD_APART * relative:
        return (
            f"{share:.1%} ± {relative:.1%} faster than the second ({second.candidate}), "
            f"measured {_times(first, second)}"
        )
    return (
        f"not told apart from {second.candidate} ({share:.1%} ± {relative:.1%}, measured "
        f"{_times(first, second)}): choose by memory, {memory}"
    )


def _times(first: Ranked, second: Ranked) -> str:
    counts = [len(first.trials), len(second.trials)]
    words = {1: "once", 2: "twice"}
    said = [words.get(count, f"{count} times") for count in counts]
    return f"{said[0]} each" if counts[0] == counts[1] else f"{said[0]} and {said[1]}"


def _gib(one: Ranked) -> str:
    return f"{one.peak_memory / GIBIBYTE:.2f} GiB"
