"""Ranks and how sure they are."""

from __future__ import annotations

import pytest

from det_files.autotune.ranking import Measurement, confidence, rank
from det_files.autotune.space import Candidate, Combination

A, B, C = (Candidate(Combination(2), rows) for rows in (1, 2, 4))


def measured(trial: int, candidate: Candidate, speed: float, spread: float = 1.0) -> Measurement:
    return Measurement(trial, candidate, "measured", speed, spread, candidate.micro_batch * 2.0**30)


def test_trials_of_one_configuration_are_one_rank() -> None:
    found = rank(
        [
            measured(1, A, 100),
            Measurement(2, C, "out of memory"),
            measured(3, B, 110),
            measured(4, B, 114),
        ]
    )
    assert [(one.candidate, one.trials) for one in found] == [(B, (3, 4)), (A, (1,)), (C, (2,))]
    assert found[0].throughput == 112
    # Trials 110 and 114 have a standard deviation of 2.83, steps say 1: the mean of two has 2.
    assert found[0].error == pytest.approx(2.0)
    assert found[1].error == pytest.approx(100 * 2.828 / 112, rel=1e-3)


def test_what_differs_is_said_with_its_error() -> None:
    pairs = [measured(1, A, 100), measured(2, B, 110), measured(3, A, 101), measured(4, B, 109)]
    assert confidence(rank(pairs)) == (
        "9.0% ± 1.0% faster than the second (stage 2, micro-batch 1), measured twice each"
    )


def test_what_does_not_is_not_told_apart() -> None:
    pairs = [measured(1, A, 100, 4), measured(2, B, 101, 4)]
    assert confidence(rank(pairs)) == (
        "not told apart from stage 2, micro-batch 1 (1.0% ± 5.7%, measured once each): "
        "choose by memory, 2.00 GiB against 1.00 GiB"
    )


def test_memory() -> None:
    found = rank([measured(1, B, 110), measured(2, A, 100)], smallest_memory=True)
    assert [one.candidate for one in found] == [A, B]
    assert "needs 100.0% more: 1.00 GiB against 2.00 GiB" in confidence(found, True)


def test_nothing_measured() -> None:
    assert confidence(rank([Measurement(1, A, "failed")])) == "nothing could be measured"
    assert "the only" in confidence(rank([measured(1, A, 1.0)]))
