"""Where an export may be written."""

from __future__ import annotations

from pathlib import Path

from det_files.faults import Faults


def find_output_faults(output: Path, checkpoint: Path, faults: Faults) -> None:
    """Notes why nothing can be written to `output`, which must be absent or an empty directory."""
    if output.exists() and not output.is_dir():
        faults.add("--output", f"{output} is a file")
    elif output.is_dir() and any(output.iterdir()):
        faults.add("--output", f"{output} exists and is not empty")
    elif output.is_dir() and output.samefile(Path.cwd()):
        faults.add("--output", f"{output} is the current directory: name one in it")
    elif output.is_mount():
        # What is written aside is renamed, which nothing can be onto a mount point.
        faults.add("--output", f"{output} is a mount point: name a directory in it")
    if output.resolve().is_relative_to(checkpoint.resolve()):
        faults.add(
            "--output", f"{output} lies in the checkpoint, whose files are all accounted for"
        )
