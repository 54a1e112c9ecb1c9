"""The trial of a cluster, read from Determined's own description of the task."""

from __future__ import annotations

import determined
import pytest
from determined._info import ClusterInfo, RendezvousInfo, TrialInfo

from det_files.cluster.trial import ClusterTrial, cluster_trial


def info(task_type: str) -> ClusterInfo:
    trial = TrialInfo(1, 1, 0, {"a": {"b": 1}}, {"name": "x"}, 0, 1, False, None)
    return ClusterInfo(
        "http://master:8080", "c", "a", [0, 1], "t", "a", "token", task_type,
        latest_checkpoint="uuid", trial_info=trial if task_type == "TRIAL" else None,
        rendezvous_info=RendezvousInfo(["10.0.0.1", "10.0.0.2"], 0, [2, 2]),
    )  # fmt: skip


def test_a_trial_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determined._info, "_info", info("TRIAL"))
    assert cluster_trial() == ClusterTrial(
        hyperparameters={"a": {"b": 1}},
        config={"name": "x"},
        latest_checkpoint="uuid",
        slots=2,
        containers=2,
    )


@pytest.mark.parametrize("task_type", ["NOTEBOOK", "SHELL", "COMMAND"])
def test_other_tasks_of_a_cluster_are_no_trial(
    task_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(determined._info, "_info", info(task_type))
    assert cluster_trial() is None


def test_there_is_none_off_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determined._info, "_info", None)
    assert cluster_trial() is None
