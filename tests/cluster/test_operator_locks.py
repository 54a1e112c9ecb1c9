"""Locks that killed builds leave are removed; those of builds that go on are not."""

import os
import time
from pathlib import Path

import pytest
from torch.utils.cpp_extension import get_default_build_root
from torch.utils.file_baton import FileBaton

from det_files.cluster.operator_locks import first_builds, release_abandoned_locks


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (tmp_path / "cpu_adam").mkdir()
    return tmp_path / "cpu_adam" / "lock"


def age(lock: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(lock, (then, then))


def test_a_killed_builds_lock_is_removed_and_said(
    lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock.touch()
    age(lock, 3600)
    release_abandoned_locks()
    assert not lock.exists()
    assert f"removed {lock}" in caplog.text
    assert FileBaton(str(lock)).try_acquire()  # torch goes on


def test_the_lock_of_a_build_that_goes_on_stays(
    lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    baton = FileBaton(str(lock))
    assert baton.try_acquire()
    age(lock, 3600)
    release_abandoned_locks()
    assert lock.exists()
    assert caplog.text == ""
    baton.release()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sleeping takes no time, but for that of the clock; what was slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + sum(slept))
    return slept


def test_a_young_lock_that_nobody_holds_is_watched_until_it_is_old(
    lock: Path, caplog: pytest.LogCaptureFixture, naps: list[float]
) -> None:
    """As a trial finds it that is restarted seconds after it was killed."""
    lock.touch()
    release_abandoned_locks()
    assert not lock.exists()
    assert 590 < sum(naps) < 610
    waiting, removed = caplog.messages
    assert "held by no process here: it is removed at 600 s" in waiting
    assert removed.startswith(f"removed {lock}")


def test_a_young_lock_that_another_host_releases_is_waited_for(
    lock: Path, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.touch()
    monkeypatch.setattr(time, "sleep", lambda _: lock.unlink())
    release_abandoned_locks()
    assert not lock.exists()


def test_locks_lie_below_torchs_own_directory_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lock = Path(get_default_build_root()) / "py311_cpu" / "cpu_adam" / "lock"
    assert tmp_path in lock.parents
    lock.parent.mkdir(parents=True)
    lock.touch()
    age(lock, 3600)
    release_abandoned_locks()
    assert not lock.exists()


def test_a_first_build_is_told_from_a_look_and_from_a_lock_that_was_left(
    lock: Path, tmp_path: Path
) -> None:
    environment = {"TORCH_EXTENSIONS_DIR": str(tmp_path)}
    lock.touch()
    assert first_builds(environment) == []  # nobody is at it
    lock.unlink()
    baton = FileBaton(str(lock))
    assert baton.try_acquire()
    assert first_builds(environment) == ["cpu_adam"]
    assert first_builds({"XDG_CACHE_HOME": str(tmp_path / "other")}) == []
    (lock.parent / "cpu_adam.so").touch()
    assert first_builds(environment) == []  # built: torch looks whether it is up to date
    baton.release()
