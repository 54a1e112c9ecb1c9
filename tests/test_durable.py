"""Directories are written whole or not at all, and lie on disk before they have their name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from det_files.durable import digest, obstacle_to, written_aside
from det_files.faults import ConfigError


def test_a_digest_is_sha256_of_all_there_is(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4 * 9000  # more than is read at once
    (tmp_path / "x").write_bytes(content)
    assert digest(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_what_stands_in_the_way_of_a_directory_is_named(tmp_path: Path) -> None:
    assert obstacle_to(tmp_path) is None
    assert obstacle_to(tmp_path / "a" / "b") is None
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    for name in ("file", "file/a/b", "link/a"):
        there = tmp_path / name.partition("/")[0]
        assert obstacle_to(tmp_path / name) == f"{there} is no directory"
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() != 0:  # whom nothing is locked to
        assert obstacle_to(locked / "a") == f"{locked} cannot be written to"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_what_ends_the_writing_early_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), written_aside(tmp_path / "out") as aside:
        (aside / "half").write_text("of it")
        raise error
    assert list(tmp_path.iterdir()) == []
    with written_aside(tmp_path / "out") as aside:
        (aside / "whole").write_text("all of it")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    with written_aside(tmp_path / "out") as aside:
        (aside / "sub").mkdir(mode=0o700)
        (aside / "sub" / "file").touch(mode=0o600)
    modes = [path.stat().st_mode & 0o777 for path in sorted((tmp_path / "out").rglob("*"))]
    assert [(tmp_path / "out").stat().st_mode & 0o777, *modes] == [0o755, 0o755, 0o644]


def test_a_link_to_an_empty_directory_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "out").symlink_to("there")
    with written_aside(tmp_path / "out") as aside:
        (aside / "file").touch()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "there" / "file").is_file()


def test_all_is_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    with written_aside(tmp_path / "out") as aside:
        (aside / "sub").mkdir()
        (aside / "sub" / "weights").write_text("many")
        name = aside.name
    assert events == [name, "weights", "sub", "rename", tmp_path.name]


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    aside = written_aside(tmp_path / "file" / "out")
    with pytest.raises(ConfigError, match=r"--output: .*file/out: File exists"), aside:
        pass
