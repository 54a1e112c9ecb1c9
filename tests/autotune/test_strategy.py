"""The search on synthetic surfaces: near the best, in half of the trials, with noise and limits."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from det_files.autotune.space import Axes, Candidate, Combination
from det_files.autotune.strategy import (
    FAILED,
    MEASURED,
    OUT_OF_MEMORY,
    Knowledge,
    Result,
    Space,
    next_candidate,
)

SIZE = 80.0
ROWS = (1, 2, 4, 8, 16, 32)
Surface = Callable[[Candidate], float]
# Name → the dimensions; the first is the default on GPUs.
SPACES = {
    "default": Axes((1, 2, 3), ("none", "cpu", "cpu+params"), (False, True), (None,), ROWS),
    "buckets": Axes((1, 2, 3), ("none", "cpu"), (False, True), (None, 10**7, 10**9), ROWS),
    "small": Axes((1, 2, 3), ("none",), (False, True), (None,), (1, 2, 4, 8)),
}


def make_surface(rng: random.Random) -> tuple[Surface, Surface]:
    """(throughput, needed memory) of candidates: effects of each dimension, and interactions.

    Throughput rises with the micro-batch m as m / (m + h), and may fall again beyond some k.
    """
    h, k = rng.uniform(0.3, 6), rng.choice([math.inf, rng.uniform(8, 64)])
    stage = {number: rng.uniform(0.6, 1.0) for number in range(1, 4)}
    offload = {"none": 1.0, "cpu": rng.uniform(0.3, 1), "cpu+params": rng.uniform(0.2, 0.8)}
    slower = rng.uniform(0.65, 0.95)
    own: dict[Combination, tuple[float, float]] = {}
    buckets: dict[tuple[Combination, int | None], float] = {}

    def throughput(candidate: Candidate) -> float:
        c, rows = candidate.combination, candidate.micro_batch
        same = Combination(c.stage, c.offload, c.checkpointing)
        factor, shape = own.setdefault(
            same, (math.exp(rng.gauss(0, 0.04)), math.exp(rng.gauss(0, 0.35)))
        )
        bucket = buckets.setdefault((same, c.bucket), math.exp(rng.gauss(0, 0.03)))
        half = h * shape * (1 if c.offload == "none" else 3)
        level = stage[c.stage] * offload[c.offload] * (slower if c.checkpointing else 1)
        return 1e3 * level * factor * bucket * rows / (rows + half) / (1 + (rows / k) ** 2)

    states = {1: rng.uniform(20, 60)}
    states |= {2: states[1] * rng.uniform(0.6, 1), 3: states[1] * rng.uniform(0.25, 0.8)}
    kept = {"none": 1.0, "cpu": rng.uniform(0.4, 0.9), "cpu+params": rng.uniform(0.1, 0.4)}
    activations = {False: rng.uniform(1, 8), True: rng.uniform(0.1, 0.8)}

    def memory(candidate: Candidate) -> float:
        c = candidate.combination
        return states[c.stage] * kept[c.offload] + activations[c.checkpointing] * (
            candidate.micro_batch
        )

    return throughput, memory


def tune(axes: Axes, seed: int, noise: float) -> tuple[float, int, int, list[Result]]:
    """(regret: the share that the pick is below the best, trials, size of the grid, results)."""
    rng = random.Random(seed)
    throughput, memory = make_surface(rng)
    candidates = axes.candidates(1, None)
    for candidate in candidates:
        throughput(candidate)
    bias = math.exp(rng.gauss(0, 0.08))
    needed = {c: memory(c) * bias * math.exp(rng.gauss(0, 0.03)) for c in candidates}
    tried = [c for c in candidates if needed[c] <= 1.1 * SIZE]
    tried.sort(key=lambda c: axes.buckets.index(c.combination.bucket))
    space, results = Space(tried, needed), list[Result]()
    while (chosen := next_candidate(space, results, len(tried) // 2)) is not None:
        if memory(chosen) > SIZE:
            results.append(Result(chosen, OUT_OF_MEMORY))
        else:
            value = throughput(chosen) * math.exp(rng.gauss(0, noise))
            results.append(Result(chosen, MEASURED, value, noise * value))
    pick = Knowledge(space, results).best()
    best = max(throughput(c) for c in candidates if memory(c) <= SIZE)
    regret = 1 - throughput(pick) / best if pick else 1.0
    return regret, len(results), len(tried), results


@pytest.mark.parametrize(
    ("name", "noise", "near", "share"),
    [
        ("default", 0.0, 0.96, 0.40),
        ("default", 0.03, 0.94, 0.40),
        ("buckets", 0.0, 0.95, 0.25),
        ("buckets", 0.03, 0.90, 0.25),
        ("small", 0.0, 0.94, 0.50),
        ("small", 0.03, 0.92, 0.50),
    ],
)
def test_the_pick_is_near_the_best_in_half_of_the_trials(
    name: str, noise: float, near: float, share: float
) -> None:
    regrets, shares = [], []
    for seed in range(200):
        regret, trials, grid, _ = tune(SPACES[name], seed, noise)
        regrets.append(regret)
        shares.append(trials / grid)
    assert max(shares) <= 0.5
    assert sum(shares) / len(shares) <= share
    assert sum(regret <= 0.05 for regret in regrets) / len(regrets) >= near
    assert sorted(regrets)[len(regrets) // 2] <= 0.01


def test_the_two_best_are_measured_twice_where_trials_are_left() -> None:
    *_, results = tune(SPACES["default"], 3, 0.02)
    scores: dict[Candidate, list[float]] = {}
    for result in results:
        if result.outcome == MEASURED:
            scores.setdefault(result.candidate, []).append(result.score)
    best = sorted(scores.values(), key=lambda found: -sum(found) / len(found))
    assert [len(found) for found in best[:2]] == [2, 2]


def test_it_is_a_function_of_the_results_alone() -> None:
    *_, results = tune(SPACES["small"], 5, 0.03)
    *_, again = tune(SPACES["small"], 5, 0.03)
    assert results == again


def test_what_needs_more_than_what_ran_out_is_not_tried() -> None:
    one = Combination(2)
    small, middle, large = (Candidate(one, rows) for rows in (1, 2, 4))
    other = Candidate(Combination(1), 2)
    needed = {small: 10.0, middle: 20.0, large: 40.0, other: 30.0}
    space = Space([small, middle, large, other], needed)
    known = Knowledge(space, [Result(middle, OUT_OF_MEMORY)])
    assert known.open() == [small]
    # Offloaded states lie elsewhere: nothing is said of them.
    away = Candidate(Combination(1, "cpu"), 2)
    space = Space([small, away], needed | {away: 30.0})
    assert Knowledge(space, [Result(middle, OUT_OF_MEMORY)]).open() == [small, away]


def test_a_failure_that_is_not_memorys_says_nothing_of_others() -> None:
    candidates = SPACES["small"].candidates(1, None)
    space = Space(candidates, {c: float(c.micro_batch) for c in candidates})
    results: list[Result] = []
    while (chosen := next_candidate(space, results, 24)) is not None:
        fails = chosen.combination.stage == 3
        results.append(Result(chosen, FAILED) if fails else Result(chosen, MEASURED, 10.0, 0.1))
    measured = {r.candidate.combination for r in results if r.outcome == MEASURED}
    assert {c.stage for c in measured} == {1, 2} and len(measured) == 4
    of_stage_3 = [r.candidate.combination for r in results if r.outcome == FAILED]
    assert all(of_stage_3.count(combination) <= 2 for combination in of_stage_3)


def test_nothing_is_tried_beyond_the_limit_or_the_space() -> None:
    space = Space([Candidate(Combination(2), 1)])
    assert next_candidate(space, [], 0) is None
    first = next_candidate(space, [], 5)
    assert first == space.candidates[0]
    out = [Result(first, OUT_OF_MEMORY)]
    assert next_candidate(space, out, 5) is None
    assert next_candidate(Space([]), [], 5) is None
