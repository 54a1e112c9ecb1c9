"""Digests: of the content, and kept only while the file is surely the same."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from det_files.data import digests
from det_files.data.digests import content_digest


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for notes, and every file is a large one that was settled long ago."""
    monkeypatch.setattr(digests, "LARGE_BYTES", 1)
    monkeypatch.setattr(digests, "SETTLED_S", -1.0)
    return tmp_path / "notes"


def test_small_and_unsettled_files_are_always_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"two"):  # of the same size and, it may be, the same time
        path.write_bytes(content)
        assert content_digest(path, tmp_path / "notes") == sha256(content)
    assert not (tmp_path / "notes").exists()


def test_a_large_file_is_read_once(tmp_path: Path, notes: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert content_digest(path, notes) == sha256(b"one")
    (note,) = notes.iterdir()
    note.write_text(note.read_text().replace(sha256(b"one"), "noted"))
    assert content_digest(path, notes) == "noted"
    note.write_text("no JSON")
    assert content_digest(path, notes) == sha256(b"one")


def test_a_large_file_that_was_changed_is_read_again(tmp_path: Path, notes: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = path.stat()
    content_digest(path, notes)
    time.sleep(0.02)
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync -t would
    assert content_digest(path, notes) == sha256(b"two")


def test_notes_that_cannot_be_written_are_done_without(tmp_path: Path, notes: Path) -> None:
    notes.touch()
    (tmp_path / "a").write_bytes(b"one")
    assert content_digest(tmp_path / "a", notes) == sha256(b"one")
