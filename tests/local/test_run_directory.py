"""Allocating, locking and reading run directories."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from det_files.faults import ConfigError
from det_files.local.run_directory import (
    RunDirectory,
    latest_checkpoint,
    whole_checkpoints,
    write_atomically,
)
from det_files.trial_files import directory_name


def checkpoint(trial: Path, name: str, steps: int, *files: str) -> None:
    directory = trial / "checkpoints" / name
    directory.mkdir(parents=True)
    for file in files or ("manifest.json", "metadata.json"):
        (directory / file).write_text(json.dumps({"steps_completed": steps}))


def test_numbers_go_on_from_the_largest(tmp_path: Path) -> None:
    (tmp_path / "a" / "7").mkdir(parents=True)
    (tmp_path / "a" / "notes").mkdir()
    assert RunDirectory.allocate(tmp_path, "a").path == tmp_path / "a" / "8"
    assert RunDirectory.allocate(tmp_path, "b").path == tmp_path / "b" / "1"


def test_runners_that_start_together_get_different_directories(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: RunDirectory.allocate(tmp_path, "a"), range(64)))
    assert sorted(int(run.path.name) for run in runs) == list(range(1, 65))


@pytest.mark.parametrize(
    ("name", "directory"),
    [("swallow_7b", "swallow_7b"), ("a/b c", "a_b_c"), ("..", "experiment"), ("../x", "_x")],
)
def test_a_name_becomes_one_component(name: str, directory: str) -> None:
    assert directory_name(name) == directory


def test_a_run_is_locked_until_its_last_holder_ends(tmp_path: Path, monkeypatch) -> None:
    run = RunDirectory.allocate(tmp_path, "a")
    run.experiment_file.touch()
    run.write_summary({})
    with pytest.raises(ConfigError, match=rf"in use by another runner \(process {os.getpid()}\)"):
        RunDirectory.open(run.path)
    assert run.lock_fd is not None
    keeper = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(run.lock_fd,)
    )
    os.pwrite(run.lock_fd, b"0" * 20, 0)  # no such process: the runner has died
    os.close(run.lock_fd)
    monkeypatch.setattr("det_files.local.run_directory.ORPHANED_LOCK_WAIT_S", 0.3)
    with pytest.raises(ConfigError, match="in use"):
        RunDirectory.open(run.path)
    keeper.communicate(b"\n")
    assert RunDirectory.open(run.path).lock_fd is not None


def test_a_damaged_summary_is_a_fault(tmp_path: Path) -> None:
    run = RunDirectory.allocate(tmp_path, "a")
    assert run.read_summary() == {}
    for text, message in (("{", "is not JSON"), ("[]", "is not a JSON object")):
        run.summary_file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            run.read_summary()


def test_a_failed_write_leaves_the_old_text_and_no_rubbish(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    checkpoint(tmp_path, "b", 20)
    checkpoint(tmp_path, "a", 100)
    checkpoint(tmp_path, ".unfinished", 300)
    checkpoint(tmp_path, "no-manifest", 300, "metadata.json")
    checkpoint(tmp_path, "no-metadata", 300, "manifest.json")
    checkpoint(tmp_path, "torn", 300)
    (tmp_path / "checkpoints" / "torn" / "metadata.json").write_text('{"steps_co')
    assert [(c.uuid, c.steps_completed) for c in whole_checkpoints(tmp_path)] == [
        ("b", 20),
        ("a", 100),
    ]
    latest = latest_checkpoint(tmp_path)
    assert latest is not None and latest.path == tmp_path / "checkpoints" / "a"


def test_of_two_checkpoints_of_a_step_the_younger_is_the_latest(tmp_path: Path) -> None:
    for name, seconds in (("older", 1000), ("younger", 2000), ("oldest", 500)):
        checkpoint(tmp_path, name, 20)
        os.utime(tmp_path / "checkpoints" / name / "metadata.json", (seconds, seconds))
    assert [c.uuid for c in whole_checkpoints(tmp_path)] == ["oldest", "older", "younger"]
