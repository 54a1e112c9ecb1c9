"""Rows of a search's trials: from summary.json, from a running trial, their order."""

from typing import Any

import pytest

from det_files.local.metrics import Row
from det_files.local.progress import Progress
from det_files.local.search_rows import (
    Rung,
    TrialRow,
    best_first,
    live_row,
    row_of,
    searched_names,
)

SEARCHER = {"name": "random", "metric": "eval_loss", "smaller_is_better": True}


def test_a_row_from_the_summary() -> None:
    entry = {
        "trial": 3,
        "state": "COMPLETED",
        "params": {"a.lr": 1e-4},
        "steps_completed": 25,
        "final": {"eval_loss": 1.5},
        "best": {"eval_loss": 1.25, "steps_completed": 20},
        "wall_seconds": 9.5,
        "restarts": 1,
        "bracket": 0,
        "rungs": [
            {"units": 6, "value": 2.5, "continues": True},
            {"units": 25, "value": None, "continues": False},
        ],
        "stopped_at": 25,
    }
    row = row_of(entry, "eval_loss")
    assert (row.number, row.metric, row.best, row.steps, row.wall_s) == (3, 1.5, 1.25, 25, 9.5)
    assert row.rungs == (Rung(6, 2.5, True), Rung(25, None, False))
    assert row.standing == "stopped at 25"
    assert not row.failed


def test_a_row_from_a_trial_that_has_not_started() -> None:
    row = row_of({"trial": 1, "state": "QUEUED", "final": {}, "best": {}}, "eval_loss")
    assert (row.standing, row.best, row.runs, row.failed) == ("queued", None, False, False)


@pytest.mark.parametrize(
    ("state", "best", "failed"),
    [("ERROR", 1.0, True), ("COMPLETED", None, True), ("COMPLETED", 1.0, False)],
)
def test_dying_and_measuring_nothing_are_failures(
    state: str, best: float | None, failed: bool
) -> None:
    assert TrialRow(1, state, best=best).failed == failed


def test_nan_and_booleans_are_no_values() -> None:
    entry: dict[str, Any] = {"trial": 1, "state": "COMPLETED", "final": {"m": float("nan")}}
    assert row_of(entry | {"best": {"m": True}}, "m").metric is None
    assert row_of(entry | {"best": {"m": True}}, "m").best is None


@pytest.mark.parametrize(("smaller", "best"), [(True, 1.0), (False, 3.0)])
def test_a_live_row_keeps_the_best_from_before_a_restart(smaller: bool, best: float) -> None:
    progress = Progress(max_steps=100)
    progress.update(Row(10.0, "training", 30, {"loss": 2.0, "tokens_per_second": 500.0}))
    progress.update(Row(20.0, "training", 40, {"loss": 2.0, "tokens_per_second": 500.0}))
    progress.validations += [Row(20.0, "validation", 40, {"eval_loss": value}) for value in (2, 1)]
    row = TrialRow(1, "RUNNING", steps=25, metric=3.0, best=3.0)
    live = live_row(row, progress, SEARCHER | {"smaller_is_better": smaller}, 20.0)
    assert (live.steps, live.max_steps, live.tokens_per_second) == (40, 100, 500.0)
    assert (live.metric, live.best, live.eta_s) == (1.0, best, pytest.approx(60.0))
    untouched = live_row(row, Progress(), SEARCHER, 20.0)
    assert (untouched.metric, untouched.best, untouched.steps) == (3.0, 3.0, 25)


@pytest.mark.parametrize(("smaller", "order"), [(True, [2, 4, 1, 3]), (False, [1, 2, 4, 3])])
def test_order_follows_the_direction_and_unmeasured_come_last(
    smaller: bool, order: list[int]
) -> None:
    values = {1: 0.8, 2: 0.3, 3: None, 4: 0.3}
    rows = [TrialRow(number, "COMPLETED", best=value) for number, value in values.items()]
    assert [row.number for row in best_first(rows, smaller)] == order


def test_names_are_those_of_all_trials() -> None:
    rows = [TrialRow(1, "RUNNING", {"a": 1}), TrialRow(2, "RUNNING", {"b": 1, "a": 2})]
    assert searched_names(rows) == ["a", "b"]
