"""Checkpoints that Determined has, downloaded once.

$DET_FILES_CHECKPOINTS, or ~/.cache/det_files/checkpoints
    <uuid>/           whole, or not there
    .<uuid>.lock      held by the process that downloads it, for which others wait
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from det_files.cluster.manifest import MANIFEST_FILE, damage
from det_files.durable import locked, written_aside
from det_files.faults import ConfigError, Fault, Faults


def cache_directory() -> Path:
    """Where downloaded checkpoints are kept."""
    named = os.environ.get("DET_FILES_CHECKPOINTS")
    return Path(named) if named else Path.home() / ".cache/det_files/checkpoints"


def download(uuid: str) -> Path:
    """The checkpoint's directory; from its storage, or through the master, where it is not there.

    Master and user are those of the `det` command: $DET_MASTER, `det user login`.

    Raises:
        ConfigError: the master does not answer, knows none, or has none that is complete; a file
            came damaged.
    """
    uuid = uuid.lower()
    cache = cache_directory()
    directory = cache / uuid
    if directory.is_dir():
        return directory
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(Fault(str(cache), str(error.strerror))) from error
    with locked(cache / f".{uuid}.lock"):
        if not directory.is_dir():
            print(f"downloading checkpoint {uuid} to {directory}", file=sys.stderr, flush=True)
            with written_aside(directory) as aside:
                _fetch(uuid, aside)
                _check(uuid, aside)
    return directory


def _fetch(uuid: str, directory: Path) -> None:
    try:
        from determined import errors
        from determined.common.api.errors import BadRequestException, NotFoundException
        from determined.experimental import client
    except ImportError as error:
        reason = f"needs the client of Determined: pip install determined ({error})"
        raise ConfigError(Fault(uuid, reason)) from error
    try:
        client.Determined().get_checkpoint(uuid).download(str(directory))
    except NotFoundException as error:
        raise ConfigError(Fault(uuid, f"the master has no such checkpoint: {error}")) from error
    except errors.CheckpointStateException as error:
        raise ConfigError(Fault(uuid, str(error))) from error
    except (BadRequestException, errors.MultipleDownloadsFailed, OSError) as error:
        why = error.__cause__ or error
        raise ConfigError(Fault(uuid, f"cannot be had from Determined: {why}")) from error


def _check(uuid: str, directory: Path) -> None:
    """Refuses what came damaged; what training alone needs may be gone from a checkpoint."""
    faults = Faults()
    if (directory / MANIFEST_FILE).is_file():
        for line in damage(directory, matters=lambda name: (directory / name).is_file()):
            faults.add(uuid, line.replace(f"{directory}/", ""))
    faults.raise_if_any()
