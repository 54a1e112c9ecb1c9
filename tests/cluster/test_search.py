"""Which side of a searcher a trial talks to; tests/cluster/lives show how each one decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from determined import core
from determined._info import ClusterInfo, TrialInfo
from determined.common.storage import SharedFSStorageManager

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

CONFIG = {"searcher": {"name": "adaptive_asha", "metric": "eval_loss"}}
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
    assert type(make_search(on, {"name": name}, None)) is kind


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
