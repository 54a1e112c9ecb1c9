"""Where a trained model lies: a checkpoint's directory, a run's best one, or on a cluster."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.faults import ConfigError, Fault
from det_files.local.run_directory import RunDirectory, whole_checkpoints


def locate(name: str) -> Path:
    """The directory of a checkpoint or a run; a Determined checkpoint's UUID is downloaded once.

    Raises:
        ConfigError: there is no such directory; see `download` for a UUID.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if not is_uuid(name):
        reason = "no such directory, and no UUID of a checkpoint that Determined has"
        raise ConfigError(Fault(name, reason))
    from det_files.trained.downloading import download

    return download(name)


def is_uuid(name: str) -> bool:
    """Whether a name is written as the UUID of a checkpoint."""
    try:
        return str(uuid.UUID(name)) == name.lower()
    except ValueError:
        return False


@dataclass(frozen=True)
class BestCheckpoint:
    """The best checkpoint of a run's best trial, and where that trial lies."""

    trial: int
    directory: Path
    path: Path


def find_best_checkpoint(run: RunDirectory) -> BestCheckpoint:
    """Returns the best checkpoint of the run's best trial, or its latest where that is gone.

    Raises:
        ConfigError: no run there, no trial to choose, or no whole checkpoint.
    """
    summary = run.read_summary()
    number = summary.get("best_trial")
    if number is None:
        reason = "has no best trial: none has reported the searcher's metric"
        raise ConfigError(Fault(str(run.path), reason if summary else "is no run directory"))
    directory = run.path / "trials" / str(number)
    entry: dict[str, Any] = next((t for t in summary["trials"] if t["trial"] == number), {})
    return BestCheckpoint(
        number, directory, find_checkpoint(directory, entry.get("best_checkpoint"))
    )


def find_checkpoint(trial_directory: Path, best: str | None) -> Path:
    """Returns the checkpoint `best`, or the latest where that is not there.

    Raises:
        ConfigError: the trial has no whole checkpoint.
    """
    whole = {checkpoint.uuid: checkpoint.path for checkpoint in whole_checkpoints(trial_directory)}
    if not whole:
        raise ConfigError(Fault(str(trial_directory), "has no whole checkpoint"))
    return whole[best] if best in whole else list(whole.values())[-1]
