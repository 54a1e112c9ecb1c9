"""The token cache: tokenized splits on disk, built once a host and read memory-mapped.

    <cache_dir>/<key>/       an entry, see token_entry
                <key>.lock   held by who builds it
                digests/     of large files, see digests

The key is a digest of all that tokens depend on, so an entry is never out of date. It is built in
a directory beside it and renamed when it is whole: a build that is killed leaves nothing that could
be taken for an entry. All processes of a host call alike: the first to hold the lock builds, the
others wait for it and read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from det_files.data.token_entry import Damaged, Entry, EntryWriter, read_entry
from det_files.durable import sync_directory

logger = logging.getLogger(__name__)

# The modules by which files become tokens: with another of them, an entry is another.
_MAKERS = (
    "bounds",
    "conversations",
    "encoding",
    "files",
    "hub",
    "json_list",
    "preference_rows",
    "preference_tokens",
    "rows",
    "source_target",
    "split_tokens",
    "templates",
    "token_entry",
    "tokenization",
)
DIGESTS = "digests"
_ABANDONED_S = 24 * 3600.0


def cache_key(described: Mapping[str, Any]) -> str:
    """The name of an entry: a digest of everything that its tokens depend on."""
    text = json.dumps({"made_by": _makers(), **described}, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@cache
def _makers() -> str:
    """A digest of the code that makes entries."""
    sources = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in _MAKERS)
    return hashlib.sha256(b"".join(sources)).hexdigest()


class TokenCache:
    """Entries below one directory."""

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        """`directory`: default $DET_FILES_CACHE, or ~/.cache/det_files/tokens."""
        named = directory or os.environ.get("DET_FILES_CACHE")
        where = Path(named) if named else Path.home() / ".cache" / "det_files" / "tokens"
        self.directory = where.expanduser()
        self._writable: Path | None = None

    @property
    def digests(self) -> Path:
        """Where digests of large files are kept."""
        return self.directory / DIGESTS

    def get(self, key: str, build: Callable[[EntryWriter], Mapping[str, Any]]) -> Entry:
        """The entry of that key; `build` fills it where it is not there, and returns its meta.

        What `build` raises is raised, and nothing is left behind.
        """
        found = _found(self.directory / key)
        if found is not None:
            return found
        self._writable = self._writable or _writable(self.directory)
        try:
            lock = _lock(self._writable, key)
        except OSError as error:  # a file system without locks, or another user's lock file
            self._writable = _instead_of(self._writable, error)
            lock = _lock(self._writable, key)
        with lock:
            return self._built(self._writable, key, build)

    def _built(
        self, directory: Path, key: str, build: Callable[[EntryWriter], Mapping[str, Any]]
    ) -> Entry:
        found = _found(directory / key, say=True)
        if found is not None:
            return found
        _remove_abandoned(directory, key)
        aside = directory / f"{key}.{socket.gethostname()}.{os.getpid()}.tmp"
        writer = EntryWriter(aside)
        try:
            writer.finish(build(writer))
            _publish(aside, directory / key)
        finally:
            writer.abandon()
            shutil.rmtree(aside, ignore_errors=True)
        return read_entry(directory / key)


def _lock(directory: Path, key: str) -> FileLock:
    """The lock of an entry, held; whoever builds it first has it, and all users may."""
    lock = FileLock(directory / f"{key}.lock", mode=0o666)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        logger.info("token cache: waiting for the process that builds %s", directory / key)
        lock.acquire()
    return lock


def _found(directory: Path, say: bool = False) -> Entry | None:
    try:
        return read_entry(directory)
    except FileNotFoundError:
        return None
    except Damaged as error:
        if say:
            logger.warning("token cache: %s is damaged (%s); building it again", directory, error)
        return None


def _publish(aside: Path, entry: Path) -> None:
    """Makes a finished directory the entry; a damaged one in its place goes first."""
    if entry.is_dir() and _found(entry) is None:
        old = entry.with_name(f"{entry.name}.{socket.gethostname()}.{os.getpid()}.damaged.tmp")
        entry.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    try:
        aside.rename(entry)
    except OSError:
        # Another host has published the same meanwhile, where a file system's locks are its own.
        if _found(entry) is None:
            raise
    sync_directory(entry.parent)


def _remove_abandoned(directory: Path, key: str) -> None:
    """Removes what killed builds have left. The lock is held, so none of this host is at work."""
    for left in directory.glob(f"{key}.*.tmp"):
        ours = left.name.startswith(f"{key}.{socket.gethostname()}.")
        with suppress(OSError):
            if ours or time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)


def _writable(directory: Path) -> Path:
    """The directory, or with a warning a temporary one of this user, where it takes no files."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError as error:
        return _instead_of(directory, error)


def _instead_of(directory: Path, error: OSError) -> Path:
    other = _temporary()
    reason = error.strerror or type(error).__name__
    logger.warning("token cache: %s cannot be written to (%s); using %s", directory, reason, other)
    return other


def _temporary() -> Path:
    # One for all processes of the user, so that they share what is built; but nobody else's.
    path = Path(tempfile.gettempdir()) / f"det_files_tokens_{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    stat = path.lstat()
    ours = stat.st_uid == os.getuid() and not path.is_symlink() and not stat.st_mode & 0o022
    return path if ours and path.is_dir() else Path(tempfile.mkdtemp(prefix="det_files_tokens_"))
