"""The manifest of a checkpoint: every file with its size and digest, so damage is never loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from det_files.durable import digest

MANIFEST_FILE = "manifest.json"
METADATA_FILE = "metadata.json"  # written by Determined's upload, after the manifest
RESOLVED_CONFIG_FILE = "run_args.yaml"  # RunArgs, defaults and all
FORMAT = 1


def list_files(directory: Path) -> dict[str, int]:
    """Relative POSIX path → bytes of every file below a directory, in sorted order."""
    paths = [Path(parent) / name for parent, _, names in os.walk(directory) for name in names]
    return {path.relative_to(directory).as_posix(): path.stat().st_size for path in sorted(paths)}


def entries(directory: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Manifest entries `{name: {bytes, sha256}}` of some files of a checkpoint."""
    return {
        name: {"bytes": (directory / name).stat().st_size, "sha256": digest(directory / name)}
        for name in names
    }


def write_manifest(directory: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    text = json.dumps({"format": FORMAT, "files": dict(sorted(files.items()))}, indent=1)
    (directory / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def missing_files(directory: Path) -> list[str]:
    """As `damage`, by sizes alone; nothing where the directory never had a manifest."""
    return damage(directory, (-1, 1)) if (directory / MANIFEST_FILE).exists() else []


def damage(
    directory: Path,
    share: tuple[int, int] = (0, 1),
    matters: Callable[[str], bool] = lambda name: True,
) -> list[str]:
    """What is wrong with a checkpoint, one sentence a file; empty where it is whole.

    Args:
        directory: the checkpoint.
        share: (index, count): every size is checked, and of the digests this part, so that the
            ranks of a host can divide the reading among them.
        matters: by its relative name, whether a file is looked at; all are unless it says no.
    """
    path = directory / MANIFEST_FILE
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        items = sorted((str(name), int(f["bytes"]), str(f["sha256"])) for name, f in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path}: no readable manifest ({type(error).__name__})"]
    found = []
    chosen = [item for item in items if matters(item[0])]
    for index, (name, size, sha256) in enumerate(chosen):
        file = directory / name
        if not file.is_file():
            found.append(f"{file}: missing")
        elif file.stat().st_size != size:
            found.append(f"{file}: {file.stat().st_size} bytes, the manifest says {size}")
        elif index % share[1] == share[0] and digest(file) != sha256:
            found.append(f"{file}: its digest is not the manifest's")
    return found
