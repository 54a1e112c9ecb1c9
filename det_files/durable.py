"""What must be on disk, and whole, before anything relies on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from det_files.faults import ConfigError, Fault


def sync_directory(directory: Path) -> None:
    """Brings the names in a directory to disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def written_aside(output: Path) -> Iterator[Path]:
    """A directory beside `output` to write to, which becomes `output` when all went well.

    Raises:
        ConfigError: nothing can be written there.
    """
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
        sync_directory(aside)
        aside.rename(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
