"""What must be on disk, and whole, before anything relies on it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from det_files.faults import ConfigError, Fault


def digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read as a stream."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_directory(directory: Path) -> None:
    """Brings the names in a directory to disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(directory: Path) -> None:
    """Brings every file below a directory to disk, what they hold first and then their names."""
    for parent, _, names in os.walk(directory):
        for name in names:
            descriptor = os.open(Path(parent) / name, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(parent))


def obstacle_to(directory: Path) -> str | None:
    """Why no file can be written in a directory, which may have to be made; None where one can."""
    directory = directory.absolute()
    there = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
    if not there.is_dir():
        return f"{there} is no directory"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` beside `path` and renames it into place: readers see the old or the new.

    Raises:
        OSError: If it cannot be written; `path` is then as it was.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would hide it from the machine's other users
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, for which every other process that wants it waits, within the block."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        yield


@contextmanager
def written_aside(output: Path) -> Iterator[Path]:
    """A directory beside `output` to write to, which becomes `output` when all went well.

    `output` is absent or an empty directory; where it is a link to one, that directory is filled.
    Whatever ends the block early, a signal that Python does not see excepted, leaves nothing.

    Raises:
        ConfigError: nothing can be written there.
    """
    output = output.resolve()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
    except OSError as error:
        raise ConfigError(Fault("--output", f"{output}: {error.strerror}")) from error
    try:
        yield aside
        # mkdtemp and safetensors write for the owner alone; a models directory is often shared.
        aside.chmod(0o755)
        for path in aside.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        # A name that survives a power cut while the weights behind it do not would be believed.
        sync_tree(aside)
        aside.rename(output)
        sync_directory(output.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
