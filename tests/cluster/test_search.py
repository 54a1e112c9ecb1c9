"""Which side of a searcher a trial talks to; tests/cluster/lives show how each one decides."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from determined import core
from determined._info import ClusterInfo, TrialInfo
from determined.common.storage import SharedFSStorageManager

from det_files.cluster.decisions import DecisionRecord
from det_files.cluster.metrics import JsonlTrainContext
from det_files.cluster.search import (
    OPERATIONS,
    Decision,
    Position,
    Search,
    StoppingSearch,
    first_operation,
    make_search,
    searcher_of,
)

SEARCHER = {
    "metric": "eval_loss",
    "max_trials": 16,
    "max_time": 100,
    "time_metric": "batches",
    "num_rungs": 3,
}
CONFIG = {"searcher": {"name": "adaptive_asha"} | SEARCHER}
MIDDLE = Position(batches=5, epochs=0.5, records=20, fraction=0.5)


def context(tmp_path: Path, on_cluster: bool) -> core.Context:
    trial = TrialInfo(1, 1, 0, {}, CONFIG, 0, 1, False, None)
    info = ClusterInfo(
        "http://127.0.0.1:9", "c", "a", [0], "t", "a", "token", "TRIAL", trial_info=trial
    )
    distributed = core.DummyDistributedContext()
    storage = SharedFSStorageManager(str(tmp_path))
    return core.Context(
        checkpoint=core.DummyCheckpointContext(distributed, storage),
        distributed=distributed,
        train=JsonlTrainContext(tmp_path, True),
        info=info if on_cluster else None,
    )


def test_off_cluster_nobody_interferes(tmp_path: Path) -> None:
    off = context(tmp_path, on_cluster=False)
    search = make_search(off, CONFIG["searcher"], None)
    assert type(search) is Search and searcher_of(off) == {} and first_operation(off) is None
    assert not search.validation_due(MIDDLE)
    assert search.validated(MIDDLE, {"eval_loss": 1.0}) is Decision.GO_ON


@pytest.mark.skipif(OPERATIONS, reason="this Determined hands out operations")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("single", Search),
        ("random", Search),
        ("grid", Search),
        ("adaptive_asha", StoppingSearch),
        ("async_halving", StoppingSearch),
    ],
)
def test_only_searchers_that_stop_trials_are_asked(
    name: str, kind: type[Search], tmp_path: Path
) -> None:
    on = context(tmp_path, on_cluster=True)
    assert searcher_of(on) == CONFIG["searcher"]
    assert type(make_search(on, {"name": name} | SEARCHER, None)) is kind


@pytest.mark.skipif(OPERATIONS, reason="this Determined hands out operations")
def test_a_master_that_does_not_answer_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from det_files.cluster.master import trial_record

    monkeypatch.setenv("DET_SESSION_TOKEN", "token")
    monkeypatch.setenv("DET_USER", "determined")
    on = context(tmp_path, on_cluster=True)
    search = make_search(on, CONFIG["searcher"], trial_record(on))
    assert search.validated(MIDDLE, {"eval_loss": 1.0}) is Decision.GO_ON
    assert "could not be looked up" in caplog.text


def test_a_position_is_finished_at_the_end() -> None:
    assert not MIDDLE.finished
    assert Position(10, 1.0, 40, 1.0).finished


def asked_off_cluster(tmp_path: Path, **searcher: object) -> StoppingSearch:
    off = context(tmp_path, on_cluster=False)
    (tmp_path / "decisions.jsonl").touch()
    search = make_search(off, CONFIG["searcher"] | searcher, None)
    assert isinstance(search, StoppingSearch)
    return search


def test_validations_are_due_at_the_rungs(tmp_path: Path) -> None:
    search = asked_off_cluster(tmp_path)
    due = [n for n in range(1, 121) if search.validation_due(Position(n, n / 40, n, n / 120))]
    assert due == [6, 25, 100]
    resumed = asked_off_cluster(tmp_path)
    assert resumed.validation_due(Position(25, 25 / 40, 25, 0.2))  # it was under way when it ended
    assert not resumed.validation_due(Position(26, 26 / 40, 26, 0.2))


def test_rungs_in_epochs_are_due_at_the_first_step_beyond(tmp_path: Path) -> None:
    search = asked_off_cluster(tmp_path, max_time=4, time_metric="epochs", max_rungs=2)
    due = [n for n in range(1, 41) if search.validation_due(Position(n, n / 7, n, n / 40))]
    assert due == [7, 28]
    resumed = asked_off_cluster(tmp_path, max_time=4, time_metric="epochs", max_rungs=2)
    assert resumed.validation_due(Position(28, 4.0, 28, 0.7))


def test_the_runners_decision_ends_the_trial(tmp_path: Path) -> None:
    search = asked_off_cluster(tmp_path)
    record = DecisionRecord(tmp_path)
    record.decide(5, False)
    assert search.validated(MIDDLE, {"eval_loss": 1.0}) is Decision.GO_ON
    answer = threading.Timer(0.3, record.decide, (6, True))
    answer.start()
    later = Position(batches=6, epochs=0.6, records=24, fraction=0.6)
    assert search.validated(later, {"eval_loss": 1.0}) is Decision.END
    with (tmp_path / "decisions.jsonl").open("a") as stream:
        stream.write('{"steps_comp')  # being written
    assert record.decisions() == {5: False, 6: True}
