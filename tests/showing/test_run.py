"""A run is found by its directory, and an experiment by its id, with what its trial reported."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_checkpoints import Adapters

from cluster.standin import results as results  # its routes
from cluster.standin.master import Master
from cluster.standin.one_trial import users_master
from det_files.faults import ConfigError
from det_files.local.metrics import read_rows, series
from det_files.showing.run import find_run

BEST, WORSE = "0f3c21ef-6d49-4979-8ef9-40d208ac3daa", "1f3c21ef-6d49-4979-8ef9-40d208ac3daa"


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    with users_master(tmp_path, "eval_loss") as running:
        yield running


def report(master: Master, uuid: str, steps: int, eval_loss: float) -> None:
    """The trial has validated after so many steps, and saved."""
    _, trial = master.cluster.find(1)
    trial.metrics["validation", steps] = {"eval_loss": eval_loss}
    said = {"uuid": uuid, "resources": {}, "state": "STATE_COMPLETED", "taskId": trial.task}
    trial.checkpoints.append(said | {"metadata": {"steps_completed": steps}})


def test_an_experiments_best_checkpoint_is_shown_with_the_metrics_of_its_trial(
    master: Master, adapters: Adapters, tmp_path: Path
) -> None:
    _, trial = master.cluster.find(1)
    trial.metrics |= {("training", step): {"loss": 5.0 - step} for step in (1, 2, 3)}
    report(master, BEST, 2, 1.5)
    report(master, WORSE, 3, 2.5)
    shutil.copytree(adapters("lora"), tmp_path / "cache" / BEST)  # downloaded before
    found = find_run(1)
    assert found.checkpoint.path == tmp_path / "cache" / BEST
    assert series(found.rows, "training", "loss") == ([1, 2, 3], [4.0, 3.0, 2.0])
    assert series(found.rows, "validation", "eval_loss") == ([2, 3], [1.5, 2.5])


def test_an_experiment_without_a_checkpoint_is_refused(master: Master) -> None:
    with pytest.raises(ConfigError, match="experiment 1: has no checkpoint"):
        find_run("1")


def test_an_experiment_that_the_master_does_not_know_is_refused(master: Master) -> None:
    with pytest.raises(ConfigError, match=r"999: cannot be had from Determined: .*not found"):
        find_run(999)


def test_a_master_that_does_not_answer_is_said(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DET_MASTER", "http://127.0.0.1:9")
    monkeypatch.setattr("determined.experimental.client._determined", None)
    with pytest.raises(ConfigError, match=r"no master answers at http://127\.0\.0\.1:9: set DET"):
        find_run(1)


def test_a_run_is_its_best_trials_best_checkpoint(tiny_run: Path) -> None:
    found = find_run(str(tiny_run))
    assert found.checkpoint.path.parent.parent == tiny_run / "trials" / "1"
    assert found.rows == read_rows(tiny_run / "trials" / "1" / "metrics.jsonl") != []
    assert find_run(str(found.checkpoint.path)).rows == found.rows


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone: no such directory"):
        find_run(str(tmp_path / "gone"))
