"""Brackets, rungs and decisions against numbers worked out by hand."""

from typing import Any

import pytest

from det_files.rungs import Bracket, brackets, decision_points, goes_on, rung_units


def adaptive(**keys: Any) -> dict[str, Any]:
    return {"name": "adaptive_asha", "max_time": 100, "time_metric": "batches"} | keys


@pytest.mark.parametrize(
    ("searcher", "expected"),
    [
        # Three rungs at most: floor(log4 100) + 1 = 4, floor(log4 16) + 1 = 3. Weights 16/3 and
        # 4/2: 16 x 5.33/7.33 = 11.6 and 4.4, the remainder to the first. Rungs 100/16, 100/4, 100.
        (adaptive(max_trials=16), [((6, 25, 100), 12, 8), ((25, 100), 4, 4)]),
        # floor(log4 64) + 1 = 4 rungs, all four brackets. Weights 64/4, 16/3, 4/2, 1 = 24.33: of 64
        # trials 42.08, 14.03, 5.26, 2.63, so 42, 14, 5, 2 and one more to the first; 16 at once
        # are 4 each.
        (
            adaptive(max_trials=64, max_time=64, mode="conservative"),
            [((1, 4, 16, 64), 43, 4), ((4, 16, 64), 14, 4), ((16, 64), 5, 4), ((64,), 2, 2)],
        ),
        # One bracket; floor(log3 50) + 1 = 4 and floor(log3 20) + 1 = 3 rungs: 50/9, 50/3, 50.
        (
            adaptive(max_trials=20, max_time=50, divisor=3, mode="aggressive"),
            [((5, 16, 50), 20, 16)],
        ),
        # At most two rungs, standard: (2-1)//2+1 = 1 to 2. Weights 4/2 and 1: of 10 trials 6.7 and
        # 3.3; 5 at once are 3 and 2.
        (
            adaptive(max_trials=10, max_rungs=2, max_concurrent_trials=5),
            [((25, 100), 7, 3), ((100,), 3, 2)],
        ),
        # Divisor 2: floor(log2 12) + 1 = 4, floor(log2 8) + 1 = 4: standard 2 to 4. Weights 8/4,
        # 4/3, 2/2 = 4.33: of 8 trials 3.69, 2.46, 1.85. 0 at once: as many as the last bracket has
        # trials, 2 at least because of the divisor.
        (
            adaptive(max_trials=8, max_time=12, divisor=2, max_concurrent_trials=0),
            [((1, 3, 6, 12), 5, 2), ((3, 6, 12), 2, 2), ((6, 12), 1, 1)],
        ),
        # A given number of rungs in one bracket, none of them below one unit: 20/64 is 1.
        (
            {"name": "async_halving", "num_rungs": 4, "max_trials": 9, "max_time": 20},
            [((1, 1, 5, 20), 9, 9)],
        ),
        # Brackets that the file names; fewer trials than brackets still give each one.
        (
            adaptive(max_trials=2, bracket_rungs=[1, 3, 2], max_concurrent_trials=1),
            [((6, 25, 100), 1, 1), ((25, 100), 1, 1), ((100,), 1, 1)],
        ),
    ],
)
def test_brackets_are_determineds(searcher: dict[str, Any], expected: list[tuple]) -> None:
    assert brackets(searcher) == [Bracket(*parts) for parts in expected]


def test_the_float_arithmetic_is_the_masters() -> None:
    """In floats log(1000)/log(10) is 2.9999999999999996, so a fourth rung is not there."""
    searcher = adaptive(max_trials=1000, max_time=1000, divisor=10, mode="aggressive")
    assert brackets(searcher)[0].rungs == (10, 100, 1000)
    assert rung_units(1000, 10, 4) == (1, 10, 100, 1000)


def test_037s_form_is_read_as_a_limit() -> None:
    searcher = {"name": "adaptive_asha", "max_trials": 16, "max_length": {"epochs": 100}}
    assert [bracket.rungs for bracket in brackets(searcher)] == [(6, 25, 100), (25, 100)]


def test_a_trial_goes_on_among_the_best_quarter() -> None:
    assert goes_on(9.0, [], 4)  # the first always does
    assert goes_on(1.0, [2.0, 3.0], 4)
    assert not goes_on(2.5, [2.0, 3.0], 4)
    assert goes_on(2.0, [2.0, 2.0, 2.0], 4)  # of equals the newcomer is first
    seven = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert goes_on(1.5, seven, 4)  # the second of eight
    assert not goes_on(2.5, seven, 4)
    assert not goes_on(1.5, seven[:6], 4)  # of seven only one goes on


def test_every_rung_of_every_bracket_is_a_decision_point() -> None:
    assert decision_points(adaptive(max_trials=16)) == (6, 25, 100)
    halving = {"name": "async_halving", "num_rungs": 4, "max_trials": 9, "max_time": 20}
    assert decision_points(halving) == (1, 5, 20)
    assert decision_points({"name": "random", "max_trials": 16}) == ()
