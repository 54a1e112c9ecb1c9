"""The directory that an export becomes: whole, or not there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from det_files.durable import sync_directory
from det_files.faults import ConfigError, Fault, Faults


def find_output_faults(output: Path, checkpoint: Path, faults: Faults) -> None:
    """Notes why nothing can be written to `output`, which must be absent or an empty directory."""
    if output.exists() and not output.is_dir():
        faults.add("--output", f"{output} is a file")
    elif output.is_dir() and any(output.iterdir()):
        faults.add("--output", f"{output} exists and is not empty")
    if output.absolute().is_relative_to(checkpoint.absolute()):
        faults.add(
            "--output", f"{output} lies in the checkpoint, whose files are all accounted for"
        )


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
