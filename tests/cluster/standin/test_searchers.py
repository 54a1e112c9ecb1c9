"""The stand-in's search methods against the master's arithmetic, in numbers worked out by hand."""

from __future__ import annotations

import pytest

from cluster.standin.searchers import (
    Close,
    Create,
    PromotingAsha,
    SearcherFailed,
    Stop,
    StoppingAsha,
    StoppingBracket,
    ValidateAfter,
    brackets,
    make_method,
)

ASHA = {"name": "adaptive_asha", "metric": "m", "max_trials": 16, "divisor": 4}


def test_brackets_of_the_documented_example() -> None:
    """max_time 100, 16 trials, divisor 4, standard: 12 trials in 3 rungs and 4 in 2."""
    assert brackets(ASHA, 100) == [(3, 12), (2, 4)]
    assert [rung.units for rung in StoppingBracket(3, 100, 4)._rungs] == [6, 25, 100]
    assert [rung.units for rung in StoppingBracket(2, 100, 4)._rungs] == [25, 100]
    assert brackets(ASHA | {"mode": "aggressive"}, 100) == [(3, 16)]
    assert [n for n, _ in brackets(ASHA | {"mode": "conservative"}, 100)] == [3, 2, 1]


def test_a_trial_goes_on_while_it_is_among_the_best() -> None:
    bracket = StoppingBracket(2, 8, 4)  # rungs at 2 and 8
    assert not bracket.stops(0, 1, 5.0)  # no rung reached
    assert not bracket.stops(0, 2, 5.0)  # alone
    assert bracket.stops(1, 2, 6.0)  # second of two, and one may go on
    assert not bracket.stops(2, 2, 5.0)  # as good as the best: ties favour the newcomer
    assert bracket.stops(3, 2, 5.5)
    assert bracket.stops(0, 8, 1.0)  # the top rung always stops


def test_each_stop_makes_room_for_a_trial() -> None:
    searcher = ASHA | {"max_trials": 4, "max_time": 8, "time_metric": "batches", "max_rungs": 2}
    method = StoppingAsha(searcher | {"mode": "aggressive", "max_concurrent_trials": 2})
    assert method.start() == [Create(0), Create(1)]
    assert method.validated(0, {"batches": 2, "m": 1.0}) == []
    assert method.validated(1, {"batches": 2, "m": 2.0}) == [Stop(1), Create(2)]
    assert method.exited(1, failed=False) == []
    assert method.exited(2, failed=True) == [Create(3)]
    for row in ({"m": 1.0}, {"batches": 2}):
        with pytest.raises(SearcherFailed):
            method.validated(3, row)


def test_promotion_is_by_cumulative_rungs() -> None:
    searcher = {"name": "async_halving", "num_rungs": 3, "max_trials": 4, "divisor": 4}
    method = PromotingAsha(searcher | {"max_length": {"batches": 100}, "max_concurrent_trials": 4})
    assert [rung.units for rung in method._rungs] == [6, 31, 131]
    assert method.start()[:2] == [Create(0), ValidateAfter(0, 6)]
    assert method.completed(0, 3.0) == []
    assert method.completed(1, 1.0) == []
    assert method.completed(2, 2.0) == []
    # The fourth makes one of four: the best is promoted, the others are closed.
    assert method.completed(3, 4.0) == [ValidateAfter(1, 31), Close(2), Close(0), Close(3)]


@pytest.mark.parametrize("name", ["single", "random", "grid"])
def test_the_others_let_every_trial_finish(name: str) -> None:
    method = make_method({"name": name, "max_concurrent_trials": 1}, 2, operations=False)
    assert method.start() == [Create(0)]
    assert method.validated(0, {}) == []
    assert method.exited(0, failed=False) == [Create(1)]
    assert method.exited(1, failed=True) == []
    with pytest.raises(SearcherFailed):
        make_method({"name": name}, 1, operations=True)  # 0.37 asks for a length
