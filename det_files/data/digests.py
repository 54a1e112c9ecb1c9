"""Digests of files: by what they hold two of them are known to be the same."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from det_files.durable import digest

# Smaller files are read at every start; the digest of a larger one is kept beside the tokens.
LARGE_BYTES = 64 * 1024 * 1024
# A file that was changed just now may change again within one tick of its clock.
SETTLED_S = 5.0


def content_digest(path: Path, notes: Path | None = None) -> str:
    """The SHA-256 of a file, in hexadecimal.

    `notes` is a directory where digests of large files are kept; one holds for as long as the
    file's size, inode and times stay what they were.
    """
    stat = path.stat()
    settled = time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED_S
    if notes is None or stat.st_size < LARGE_BYTES or not settled:
        return digest(path)
    state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    note = notes / f"{name}.json"
    noted = _read_note(note)
    if noted.get("state") == state and isinstance(noted.get("digest"), str):
        return str(noted["digest"])
    found = digest(path)
    _write_note(note, {"path": str(path.resolve()), "state": state, "digest": found})
    return found


def _read_note(note: Path) -> dict[str, object]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_note(note: Path, content: dict[str, object]) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        aside = note.with_name(f"{note.name}.{os.getpid()}")
        aside.write_text(json.dumps(content), encoding="utf-8")
        aside.replace(note)
    except OSError:
        return  # it is read again next time
