"""The token cache: built once, whole or not at all, and never taken for another."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from det_files.data.token_cache import TokenCache, cache_key
from det_files.data.token_entry import Damaged, EntryWriter, read_entry

ROOT = Path(__file__).resolve().parents[2]
# Builds two rows in a process of its own; says when it has begun, and waits for a file.
BUILDER = """
import logging, os, sys, time
from pathlib import Path
from det_files.data.token_cache import TokenCache

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
directory, key, go_on = sys.argv[1], sys.argv[2], Path(sys.argv[3])

def build(writer):
    print("building", flush=True)
    writer.add([1, 2, 3], [0, 1, 1])
    while not go_on.exists():
        time.sleep(0.02)
    writer.add([4], [1])
    return {"built_by": os.getpid()}

entry = TokenCache(directory).get(key, build)
print("got", entry.meta["built_by"], flush=True)
"""


def start(directory: Path, go_on: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(directory), "k", str(go_on)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def build(writer: EntryWriter) -> dict[str, Any]:
    writer.add([1, 2, 3], [0, 1, 1])
    writer.extend(np.array([4], dtype=np.int32), np.array([1], dtype=np.uint8))
    writer.extend([], [])
    writer.extend([5], [0])
    writer.end_row()
    return {"dropped": 2}


def must_not_build(writer: EntryWriter) -> dict[str, Any]:
    raise AssertionError("built again")


def test_what_was_written_is_read_memory_mapped(tmp_path: Path) -> None:
    entry = TokenCache(tmp_path / "cache").get("k", build)
    assert len(entry) == 2
    assert entry.tokens.tolist() == [1, 2, 3, 4, 5]
    assert entry.learned.tolist() == [0, 1, 1, 1, 0]
    assert entry.offsets.tolist() == [0, 3, 5]
    assert entry.learned_counts.tolist() == [2, 1]
    assert entry.meta["dropped"] == 2
    arrays = (entry.tokens, entry.learned, entry.offsets, entry.learned_counts)
    assert [array.dtype.str for array in arrays] == ["<i4", "|u1", "<i8", "<i4"]
    assert all(isinstance(array, np.memmap) for array in arrays)
    again = TokenCache(tmp_path / "cache").get("k", must_not_build)
    assert again.tokens.tolist() == entry.tokens.tolist()
    assert len(TokenCache(tmp_path / "cache").get("other", lambda _: {})) == 0
    copy = pickle.loads(pickle.dumps(entry))  # to a worker process: by its path
    assert isinstance(copy.tokens, np.memmap)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(writer: EntryWriter) -> dict[str, Any]:
        writer.add([1], [1])
        raise ValueError("bad rows")

    with pytest.raises(ValueError, match="bad rows"):
        TokenCache(tmp_path).get("k", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["k.lock"]
    assert len(TokenCache(tmp_path).get("k", build)) == 2


def test_a_killed_build_leaves_nothing_half_made(tmp_path: Path) -> None:
    process = start(tmp_path, tmp_path / "never")
    assert line_of(process) == "building"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)
    assert not (tmp_path / "k").exists()
    (left,) = tmp_path.glob("k.*.tmp")
    assert left.is_dir()
    # The lock is free again, and the next builder clears up.
    assert len(TokenCache(tmp_path).get("k", build)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "k.lock"]


def test_two_processes_build_once(tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"
    first = start(tmp_path / "cache", go_on)
    assert line_of(first) == "building"
    second = start(tmp_path / "cache", go_on)
    assert line_of(second).startswith("token cache: waiting for the process that builds")
    go_on.touch()
    assert line_of(first) == line_of(second) == f"got {first.pid}"
    assert (first.wait(timeout=20), second.wait(timeout=20)) == (0, 0)


def test_what_another_host_is_building_is_left_to_it(tmp_path: Path) -> None:
    other, old = tmp_path / "k.elsewhere.7.tmp", tmp_path / "k.gone.7.tmp"
    other.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    TokenCache(tmp_path).get("k", build)
    assert other.is_dir()
    assert not old.exists()


def damage_meta(entry: Path) -> None:
    (entry / "meta.json").write_text("{")


def cut_tokens(entry: Path) -> None:
    (entry / "tokens.npy").write_bytes((entry / "tokens.npy").read_bytes()[:-4])


def remove_offsets(entry: Path) -> None:
    (entry / "offsets.npy").unlink()


def other_counts(entry: Path) -> None:
    meta = json.loads((entry / "meta.json").read_text())
    (entry / "meta.json").write_text(json.dumps(meta | {"rows": 7}))


@pytest.mark.parametrize("damage", [damage_meta, cut_tokens, remove_offsets, other_counts])
def test_a_damaged_entry_is_built_again_with_a_warning(
    damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = TokenCache(tmp_path).get("k", build).directory
    damage(entry)
    with pytest.raises(Damaged):
        read_entry(entry)
    with caplog.at_level(logging.WARNING):
        assert len(TokenCache(tmp_path).get("k", build)) == 2
    assert [f"{entry} is damaged" in record.getMessage() for record in caplog.records] == [True]
    assert TokenCache(tmp_path).get("k", must_not_build).tokens.tolist() == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "k.lock"]


def test_a_directory_that_takes_no_files_gives_way_to_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tempfile

    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    cache = TokenCache(tmp_path / "file" / "cache")  # below a file: nobody can write there
    with caplog.at_level(logging.WARNING):
        entry = cache.get("k", build)
        cache.get("other", build)
    assert (tmp_path / "tmp") in entry.directory.parents
    assert len(caplog.records) == 1
    assert "cannot be written to (Not a directory); using" in caplog.text
    again = TokenCache(tmp_path / "file" / "cache").get("k", must_not_build)
    assert again.directory == entry.directory


def test_a_lock_that_cannot_be_taken_gives_way_to_a_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tempfile

    (tmp_path / "cache" / "k.lock").mkdir(parents=True)  # nothing that could be locked
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    cache = TokenCache(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        entry = cache.get("k", build)
    assert (tmp_path / "tmp") in entry.directory.parents
    assert "cannot be written to (Is a directory); using" in caplog.text


def test_the_directory_is_the_argument_the_variable_or_the_homes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DET_FILES_CACHE", str(tmp_path / "variable"))
    assert TokenCache(tmp_path / "argument").directory == tmp_path / "argument"
    assert TokenCache().directory == tmp_path / "variable"
    monkeypatch.delenv("DET_FILES_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TokenCache().directory == tmp_path / ".cache" / "det_files" / "tokens"


def test_a_key_is_of_everything_described() -> None:
    assert cache_key({"a": 1, "b": 2}) == cache_key({"b": 2, "a": 1})
    assert cache_key({"a": 1}) != cache_key({"a": "1"})
