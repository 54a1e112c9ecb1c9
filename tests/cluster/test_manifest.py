"""The manifest tells a whole checkpoint from a damaged one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from det_files.cluster.manifest import damage, entries, list_files, write_manifest


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Three files, one in a subdirectory, one empty."""
    (tmp_path / "sub").mkdir()
    for name, content in (("a.bin", b"abc"), ("sub/b.bin", b"b" * 1000), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
    write_manifest(tmp_path, entries(tmp_path, list_files(tmp_path)))
    return tmp_path


def test_files_are_listed_with_their_sizes(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()
    assert list_files(checkpoint) == {"a.bin": 3, "empty": 0, "sub/b.bin": 1000}


def test_a_whole_checkpoint_has_no_damage(checkpoint: Path) -> None:
    assert damage(checkpoint) == []
    (checkpoint / "metadata.json").write_text("{}")  # written by Determined, after the manifest
    assert damage(checkpoint) == []


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda p: (p / "a.bin").unlink(), "a.bin: missing"),
        (lambda p: (p / "a.bin").write_bytes(b"ab"), "a.bin: 2 bytes, the manifest says 3"),
        (lambda p: (p / "a.bin").write_bytes(b"abd"), "a.bin: its digest is not the manifest's"),
        (lambda p: (p / "empty").write_bytes(b"x"), "empty: 1 bytes, the manifest says 0"),
        (lambda p: (p / "manifest.json").unlink(), "manifest.json: no readable manifest (FileN"),
        (lambda p: (p / "manifest.json").write_text("{"), "manifest.json: no readable manifest (J"),
        (lambda p: (p / "manifest.json").write_text("[]"), "manifest.json: no readable manifest"),
        (
            lambda p: (p / "manifest.json").write_text('{"files": {"a": {}}}'),
            "manifest.json: no readable manifest (KeyError)",
        ),
    ],
)
def test_damage_is_named_by_its_path(
    harm: Callable[[Path], object], found: str, checkpoint: Path
) -> None:
    harm(checkpoint)
    (line,) = damage(checkpoint)
    assert line.startswith(f"{checkpoint}/{found}")


def test_ranks_share_the_digests_and_each_sees_sizes(checkpoint: Path) -> None:
    (checkpoint / "a.bin").write_bytes(b"abd")
    (checkpoint / "sub" / "b.bin").write_bytes(b"x" * 1000)
    parts = [damage(checkpoint, (rank, 2)) for rank in range(2)]
    assert sorted(line for part in parts for line in part) == sorted(damage(checkpoint))
    (checkpoint / "empty").unlink()
    assert all(f"{checkpoint}/empty: missing" in damage(checkpoint, (rank, 2)) for rank in (0, 1))


def test_what_does_not_matter_may_be_damaged_or_gone(checkpoint: Path) -> None:
    (checkpoint / "a.bin").write_bytes(b"abd")
    (checkpoint / "sub" / "b.bin").unlink()
    assert damage(checkpoint, matters=lambda name: name == "empty") == []
    (line,) = damage(checkpoint, matters=lambda name: name != "sub/b.bin")
    assert line.startswith(f"{checkpoint}/a.bin")
