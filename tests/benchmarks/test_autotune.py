"""The comparison of an autotuning with the grid, from what the two leave."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.autotune import compare, lines


def entry(stage: int, rows: int, throughput: float | None) -> dict[str, Any]:
    outcome = "measured" if throughput else "out of memory"
    found = {"stage": stage, "offload": "none", "checkpointing": False, "bucket": None}
    return found | {"micro_batch": rows, "outcome": outcome, "throughput": throughput}


def summary(*ranking: dict[str, Any]) -> dict[str, Any]:
    best = {"best": ranking[0]} if ranking and ranking[0]["throughput"] else {}
    found = {"ranking": list(ranking), "confidence": "sure", **best}
    return {"autotune": found, "trials": [{}] * len(ranking), "wall_seconds": 2.0}


GRID = summary(entry(2, 4, 100.0), entry(1, 4, 96.0), entry(1, 2, 80.0), entry(3, 8, None))


def test_the_pick_is_looked_up_in_the_grid() -> None:
    found = compare(GRID, summary(entry(1, 4, 120.0), entry(2, 4, 119.0)))
    assert found.relative == pytest.approx(0.96)
    assert (found.grid_trials, found.tuned_trials, found.pick_in_grid) == (4, 2, 96.0)
    assert "grid 4, autotuning 2 (50%)" in lines(found)[0]


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        compare(GRID, summary())
    with pytest.raises(ValueError, match="could not measure the pick"):
        compare(GRID, summary(entry(3, 8, 50.0)))
