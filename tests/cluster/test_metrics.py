"""What is reported of a trainer's logs, and metrics.jsonl."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy
import pytest
from determined import core

from det_files.cluster.metrics import WORST, JsonlTrainContext, MetricReporter
from det_files.trial_files import end_torn_line


class Recorded(core.DummyTrainContext):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int, dict[str, Any]]] = []

    def report_training_metrics(
        self, steps_completed: int, metrics: dict[str, Any], batch_metrics: Any = None
    ) -> None:
        self.calls.append(("training", steps_completed, metrics))

    def report_validation_metrics(self, steps_completed: int, metrics: dict[str, Any]) -> None:
        self.calls.append(("validation", steps_completed, metrics))


def reported(
    group: str, logs: dict[str, Any], is_chief: bool = True, **options: Any
) -> dict[str, Any] | None:
    """The row that is sent of these logs at step 3, epoch 0.5; the logs stay as they are."""
    train, before = Recorded(), dict(logs)
    reporter = MetricReporter(train, is_chief, **options)
    getattr(reporter, group)(logs, 3, 0.5)
    assert logs.keys() == before.keys()
    if not train.calls:
        return None
    ((sent_group, step, row),) = train.calls
    assert (sent_group, step) == (group, 3)
    assert (row.pop("batches"), row.pop("epochs")) == (3.0, 0.5)
    return row


def test_numbers_are_sent_and_nothing_else() -> None:
    logs = {
        "loss": 1,
        "grad_norm": numpy.float32(0.5),
        "count": numpy.int64(3),
        "epoch": 0.5,
        "note": "x",
        "missing": None,
        "rates": [1.0],
    }
    row = reported("training", logs)
    assert row == {"loss": 1.0, "grad_norm": 0.5, "count": 3.0}
    assert {type(value) for value in row.values()} == {float}


def test_the_summary_of_train_is_no_row_of_training_metrics() -> None:
    assert reported("training", {"train_loss": 1.0, "train_runtime": 3.0}) is None


def test_only_the_chief_sends() -> None:
    assert reported("training", {"loss": 1.0}, is_chief=False) is None


def test_each_group_and_step_is_sent_once() -> None:
    train = Recorded()
    reporter = MetricReporter(train, True)
    for step in (1, 1, 2):
        reporter.training({"loss": 1.0}, step, 0.0)
        reporter.validation({"eval_loss": 1.0}, step, 0.0)
    assert [(group, step) for group, step, _ in train.calls] == [
        ("training", 1),
        ("validation", 1),
        ("training", 2),
        ("validation", 2),
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("smaller_is_better", "worst"), [(True, WORST), (None, WORST), (False, -WORST)]
)
def test_what_is_not_finite_is_left_out_or_the_worst(
    value: float, smaller_is_better: bool | None, worst: float
) -> None:
    searcher = {"metric": "eval_loss"}
    if smaller_is_better is not None:
        searcher["smaller_is_better"] = smaller_is_better
    logs = {"eval_loss": value, "eval_other": value, "eval_good": 1.0}
    row = reported("validation", logs, searcher=searcher)
    assert row == {"eval_loss": worst, "eval_good": 1.0}
    assert math.isfinite(json.loads(json.dumps(worst)))
    assert reported("training", {"loss": value, "x": 1.0}, searcher={"metric": "loss"}) == {
        "x": 1.0
    }


def test_filters_are_exact_and_pass_what_the_searcher_needs() -> None:
    names = ("eval_acc",)
    searcher = {"metric": "eval_loss", "time_metric": "eval_time"}
    logs = {"eval_acc": 1, "eval_accuracy": 2, "acc": 3, "eval_loss": 4, "eval_time": 5}
    row = reported("validation", logs, filter_metrics=names, searcher=searcher)
    assert row == {"eval_acc": 1.0, "eval_loss": 4.0, "eval_time": 5.0}
    assert reported("training", {"loss": 1.0}, filter_metrics=[]) == {}


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_rows_are_on_disk_at_once_and_unrounded(tmp_path: Path) -> None:
    context = JsonlTrainContext(tmp_path, is_chief=True)
    loss = 0.1 + 0.2
    context.report_progress(0.25)
    metrics = {"loss": loss, "tiny": 5e-324}
    context.report_training_metrics(1, metrics)
    (row,) = lines(tmp_path)  # the context is still open
    assert row.keys() == {"time", "group", "steps_completed", "metrics"}
    assert (row["group"], row["steps_completed"]) == ("training", 1)
    assert row["metrics"] == {"loss": loss, "tiny": 5e-324, "progress": 0.25}
    assert repr(row["metrics"]["loss"]) == repr(loss)
    assert metrics.keys() == {"loss", "tiny"}
    context.report_validation_metrics(2, {"eval_loss": 1.0})
    context.report_metrics("system", 2, {"watts": 3})
    assert [(r["group"], r["steps_completed"]) for r in lines(tmp_path)[1:]] == [
        ("validation", 2),
        ("system", 2),
    ]


def test_a_line_torn_by_a_kill_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = json.dumps({"group": "training", "steps_completed": 1, "metrics": {}, "time": 0.0})
    path.write_text(f'{whole}\n{{"group": "trai')
    JsonlTrainContext(tmp_path, is_chief=False)
    assert not path.read_text().endswith("\n")  # the chief's file
    JsonlTrainContext(tmp_path, is_chief=True).report_validation_metrics(2, {})
    first, torn, last = path.read_text().splitlines()
    assert (first, torn) == (whole, '{"group": "trai')
    assert json.loads(last)["steps_completed"] == 2


@pytest.mark.parametrize("text", ["", "{}\n"])
def test_whole_lines_stay_as_they_are(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m"
    end_torn_line(path)
    assert not path.exists()
    path.write_text(text)
    end_torn_line(path)
    assert path.read_text() == text


HISTORY = [
    {"step": 1, "epoch": 0.5, "loss": 3.0, "grad_norm": 1.0},
    {"step": 2, "epoch": 1.0, "loss": 2.0},
    {"step": 2, "epoch": 1.0, "eval_one_loss": 2.5, "eval_one_runtime": 0.1},
    {"step": 2, "epoch": 1.0, "eval_two_loss": 2.6, "eval_two_runtime": 0.1},
    {"step": 2, "epoch": 1.0, "train_runtime": 9.0, "train_loss": 2.5},
]


@pytest.mark.parametrize(
    ("known", "training", "validation"),
    [
        ({"training": 1, "validation": -1}, [2], [2]),
        ({"training": 2, "validation": -1}, [], [2]),
        ({"training": 2, "validation": 2}, [], []),
        ({"training": 7, "validation": 6}, [], []),
        ({}, [], []),  # nobody can tell: nothing may be reported twice
    ],
)
def test_a_resumed_run_reports_what_was_not_received(
    known: dict[str, int], training: list[int], validation: list[int], tmp_path: Path
) -> None:
    context = JsonlTrainContext(tmp_path, is_chief=True)
    MetricReporter(context, is_chief=True).catch_up(HISTORY, known)
    path = tmp_path / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found: dict[str, list[int]] = {"training": [], "validation": []}
    for row in rows:
        found[row["group"]].append(row["steps_completed"])
    assert found == {"training": training, "validation": validation}
    if training:
        assert rows[0]["metrics"]["loss"] == 2.0 and rows[0]["metrics"]["epochs"] == 1.0
    if validation:
        assert {"eval_one_loss", "eval_two_loss"} <= set(rows[-1]["metrics"])


def test_the_file_tells_what_was_received(tmp_path: Path) -> None:
    context = JsonlTrainContext(tmp_path, is_chief=True)
    assert context.last_steps() == {"training": -1, "validation": -1}
    context.report_training_metrics(3, {"loss": 1.0})
    context.report_validation_metrics(2, {"eval_loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"group": "training", "steps_comp\n')
    assert context.last_steps() == {"training": 3, "validation": 2}


def test_metadata_are_the_next_starts_too(tmp_path: Path) -> None:
    assert JsonlTrainContext(tmp_path, True).get_metadata() is None
    JsonlTrainContext(tmp_path, False).set_metadata({"a": {"b": 1}})
    JsonlTrainContext(tmp_path, False).set_metadata({"c": 2})
    assert JsonlTrainContext(tmp_path, True).get_metadata() == {"c": 2}
