"""Which candidate is measured next: a function of the results so far, and of nothing else.

1. Survey: each combination once, at one micro-batch alike (or the largest that it has room for).
2. Search: in each combination that may still win, the micro-batch between its best measurement and
   its neighbours. Throughput is taken as one hump over the logarithm x of the micro-batch, concave
   in logarithms, and its shape as about the same for all combinations: what one has shown bounds
   the others. A combination whose bound is below the best measurement is not tried any more.
3. Other bucket sizes, with the winner.
4. The two best once more, and up to four that errors do not tell apart: a best of many is in part a
   lucky one.

Memory is monotone: where a candidate ran out of it, none is tried that is predicted to need more
with the same offload.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median

from det_files.autotune.space import Candidate, Combination

MEASURED, OUT_OF_MEMORY, FAILED = "measured", "out of memory", "failed"
# In logarithms, so about shares. What is gained by a trial must be worth it.
WORTHWHILE = 0.01
# How much the shapes of two combinations differ, per doubling of the micro-batch.
SHAPE = 0.06
# How fast the gain of a doubling falls with each doubling, at most.
CURVATURE = 0.25
# The gain of a doubling before anything is known.
UNKNOWN_GAIN = 0.25
REPEATS = 2
_CONFIRMED, _MOST_CONFIRMED = 2, 4  # how many are measured once more
NEAR = 2.0  # standard errors of one trial by which a candidate may be behind the best for that
_SURVEY_SHARE = 0.6  # of the trials, where there are more combinations than that
_NEEDS_MORE = 1.02  # times the bytes of what ran out: the estimate orders, with errors


@dataclass(frozen=True)
class Result:
    """What came of a trial; `score` is larger for the better, `spread` its standard error."""

    candidate: Candidate
    outcome: str
    score: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True)
class Space:
    """What may be measured: in order of preference where nothing else decides.

    `needed_bytes` is the estimate of each, where there is one.
    """

    candidates: Sequence[Candidate]
    needed_bytes: Mapping[Candidate, float] = field(default_factory=dict)

    @property
    def first_bucket(self) -> int | None:
        return self.candidates[0].combination.bucket


def next_candidate(space: Space, results: Sequence[Result], trials: int) -> Candidate | None:
    """What is measured next; None where the search has ended.

    Args:
        space: What may be measured.
        results: Of all trials so far.
        trials: How many there may be in all.
    """
    left = trials - len(results)
    if left <= 0 or not space.candidates:
        return None
    known = Knowledge(space, results)
    found = _survey(known, trials)
    reserve = min(_CONFIRMED, trials // 4)
    if found is None and left > reserve:
        found = known.most_promising() or _other_buckets(known)
    return found or _confirmation(known)


class Knowledge:
    """Results by candidate and combination, and what they say of the others."""

    def __init__(self, space: Space, results: Sequence[Result]) -> None:
        self.space = space
        self._out_of_memory = {r.candidate for r in results if r.outcome == OUT_OF_MEMORY}
        failed = [r.candidate.combination for r in results if r.outcome == FAILED]
        # Once may be an accident; what has failed twice is left alone.
        self._hopeless = {combination for combination in failed if failed.count(combination) > 1}
        self._needed = space.needed_bytes
        scores: dict[Candidate, list[float]] = {}
        for result in results:
            if result.outcome == MEASURED:
                scores.setdefault(result.candidate, []).append(result.score)
        self.counts = {candidate: len(found) for candidate, found in scores.items()}
        self.logs = {
            candidate: math.log(max(mean(found), 1e-30)) for candidate, found in scores.items()
        }
        self.tried = {result.candidate for result in results}
        shares = [r.spread / r.score for r in results if r.outcome == MEASURED and r.score > 0]
        self.noise = median(shares) if shares else 0.0
        # Combination → (x, log of the score), by x, the micro-batch's binary logarithm.
        self.curves: dict[Combination, list[tuple[float, float]]] = {}
        for candidate in sorted(self.logs, key=lambda candidate: candidate.micro_batch):
            x = math.log2(candidate.micro_batch)
            self.curves.setdefault(candidate.combination, []).append((x, self.logs[candidate]))

    def open(self) -> list[Candidate]:
        """Those not tried, and not known to fail."""
        return [c for c in self.space.candidates if c not in self.tried and not self._fails(c)]

    def _fails(self, candidate: Candidate) -> bool:
        own, needs = candidate.combination, self._needed.get(candidate)
        if own in self._hopeless:
            return True
        for blocked in self._out_of_memory:
            if blocked.combination == own and blocked.micro_batch <= candidate.micro_batch:
                return True
            limit = self._needed.get(blocked)
            alike = blocked.combination.offload == own.offload
            if alike and needs and limit and needs >= _NEEDS_MORE * limit:
                return True
        return False

    def best(self) -> Candidate | None:
        return max(self.logs, key=lambda c: self.logs[c], default=None)

    def most_promising(self) -> Candidate | None:
        """Bisects where the highest bound is; None where no bound is worth a trial."""
        best, first = self.best(), self.space.first_bucket
        if best is None:
            return None
        bounds = {
            candidate: self.bound(candidate)
            for candidate in self.open()
            if candidate.combination.bucket == first and candidate.combination in self.curves
        }
        worth = {c: bound for c, bound in bounds.items() if bound > self.logs[best] + WORTHWHILE}
        chosen = max(worth, key=lambda c: worth[c], default=None)
        return None if chosen is None else self._middle_of_gap(chosen, list(worth))

    def _middle_of_gap(self, chosen: Candidate, among: Sequence[Candidate]) -> Candidate:
        """The middle one between the same measurements as `chosen`, nearer to the better of two."""
        x, curve = math.log2(chosen.micro_batch), self.curves[chosen.combination]
        below = [point for point in curve if point[0] < x]
        above = [point for point in curve if point[0] > x]
        low = below[-1][0] if below else -math.inf
        high = above[0][0] if above else math.inf
        gap = [
            c
            for c in among
            if c.combination == chosen.combination and low < math.log2(c.micro_batch) < high
        ]
        gap.sort(key=lambda c: c.micro_batch)
        upper = bool(above) and (not below or above[0][1] > below[-1][1])
        return gap[len(gap) // 2] if upper else gap[(len(gap) - 1) // 2]

    def bound(self, candidate: Candidate) -> float:
        """What the logarithm of its score will hardly exceed; its combination has been measured."""
        x, curve = math.log2(candidate.micro_batch), self.curves[candidate.combination]
        below = [point for point in curve if point[0] < x]
        above = [point for point in curve if point[0] > x]
        bounds = []
        # Concave: beyond two measurements it lies below the line through them.
        if below:
            at, value = below[-1]
            slope = _slope(*below[-2:]) if len(below) > 1 else self._slope_from(at, x)
            bounds.append(value + (slope + SHAPE) * (x - at))
        if above:
            at, value = above[0]
            slope = _slope(*above[:2]) if len(above) > 1 else self._slope_from(at, x)
            bounds.append(value - (slope - SHAPE) * (at - x))
        if below and above:
            (left, low), (right, high) = below[-1], above[0]
            chord = low + (high - low) * (x - left) / (right - left)
            bulge = chord + CURVATURE / 2 * (x - left) * (right - x)
            bounds = [min([bulge, *bounds[:1] * (len(below) > 1), *bounds[1:] * (len(above) > 1)])]
        return min(bounds)

    def _slope_from(self, at: float, to: float) -> float:
        """The mean slope between two x that other combinations show; where none does, a guess."""
        middle = (at + to) / 2
        spans = [(a, b) for curve in self.curves.values() for a, b in pairwise(curve)]
        slopes = [_slope(a, b) for a, b in spans if a[0] <= middle <= b[0]]
        if slopes:
            return mean(slopes)
        # Concave: further up it rises by less, further down by more, than what is known.
        known = [(abs((a[0] + b[0]) / 2 - middle), _slope(a, b)) for a, b in spans]
        if not known:
            return UNKNOWN_GAIN if to > at else -UNKNOWN_GAIN
        return min(known)[1]


def _slope(first: tuple[float, float], second: tuple[float, float]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])


def _survey(known: Knowledge, trials: int) -> Candidate | None:
    """A combination's first measurement, at the survey's micro-batch or the next smaller one."""
    space, first = known.space, known.space.first_bucket
    combinations = list(
        dict.fromkeys(c.combination for c in space.candidates if c.combination.bucket == first)
    )
    rows = _survey_rows(space, len(combinations))
    for combination in combinations[: max(1, int(_SURVEY_SHARE * trials))]:
        if combination in known.curves:
            continue
        untried = [c for c in known.open() if c.combination == combination]
        smaller = [c for c in untried if c.micro_batch <= rows]
        if untried:
            return smaller[-1] if smaller else untried[0]
    return None


def _survey_rows(space: Space, combinations: int) -> int:
    """A micro-batch that at least half of the combinations have: two thirds up the list."""
    first = space.first_bucket
    counts: dict[int, int] = {}
    for candidate in space.candidates:
        if candidate.combination.bucket == first:
            counts[candidate.micro_batch] = counts.get(candidate.micro_batch, 0) + 1
    common = sorted(rows for rows, count in counts.items() if 2 * count >= combinations)
    common = common or sorted(counts)
    return common[(2 * len(common) - 1) // 3]


def _other_buckets(known: Knowledge) -> Candidate | None:
    """The winner with bucket sizes that were not tried with it."""
    best = known.best()
    for candidate in known.open():
        if best is None:
            break
        same = Combination(
            candidate.combination.stage,
            candidate.combination.offload,
            candidate.combination.checkpointing,
            best.combination.bucket,
        )
        if same == best.combination and candidate.micro_batch == best.micro_batch:
            return candidate
    return None


def _confirmation(known: Knowledge) -> Candidate | None:
    """One of the two best, or of those that errors do not tell apart from them, measured once."""
    ranked = sorted(known.logs, key=lambda c: -known.logs[c])
    near = [c for c in ranked if known.logs[c] > known.logs[ranked[0]] - NEAR * known.noise]
    chosen = ranked[: max(_CONFIRMED, min(len(near), _MOST_CONFIRMED))]
    return next((c for c in chosen if known.counts[c] < REPEATS), None)
