"""A run's directory, `runs/<experiment name>/<number>/`: allocating, locking, looking inside.

experiment.yaml   as it was resolved
summary.json      see summary.py
report.html
trials/<k>/       experiment.yaml, metrics.jsonl, log.txt, tensorboard/, checkpoints/<uuid>/,
                  metadata.json where the trial has some
"""

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.durable import write_atomically as write_atomically  # others take it from here
from det_files.faults import ConfigError, Fault
from det_files.trial_files import directory_name, make_next_directory

LOCK_POLL_S = 0.1
# After a runner was killed, its keeper needs a moment to kill the ranks and let the lock go.
ORPHANED_LOCK_WAIT_S = 20.0


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint of a trial."""

    uuid: str
    steps_completed: int
    path: Path


class RunDirectory:
    """One run's directory; `path` is absolute."""

    def __init__(self, path: Path):
        self.path = path.absolute()
        self.experiment_file = self.path / "experiment.yaml"
        self.summary_file = self.path / "summary.json"
        self.report_file = self.path / "report.html"
        self.lock_fd: int | None = None

    @classmethod
    def allocate(cls, runs_dir: Path, name: str) -> "RunDirectory":
        """Makes the next free directory of the experiment `name` and locks it.

        Raises:
            ConfigError: If nothing can be written there.
        """
        parent = runs_dir / directory_name(name)
        try:
            run = cls(make_next_directory(parent))
        except OSError as error:
            message = f"no run can be written to {parent}: {error.strerror}"
            raise ConfigError([Fault("--runs-dir", message)]) from None
        run.lock()
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Locks an existing run's directory.

        Raises:
            ConfigError: If it is no run directory or another runner is at work in it.
        """
        run = cls(path)
        missing = [
            file.name for file in (run.experiment_file, run.summary_file) if not file.is_file()
        ]
        if missing:
            reason = f"holds no {' and no '.join(missing)}" if path.is_dir() else "does not exist"
            raise ConfigError([Fault("--resume", f"{path} is no run directory: it {reason}")])
        run.lock()
        return run

    def lock(self) -> None:
        """Takes the run for this process and its keepers, until the last of them has ended.

        Raises:
            ConfigError: If another runner has it.
        """
        descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + ORPHANED_LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(descriptor, 32, 0).decode().strip()
                if _is_alive(owner) or time.monotonic() > deadline:
                    os.close(descriptor)
                    message = f"{self.path} is in use by another runner (process {owner})"
                    raise ConfigError([Fault("--resume", message)]) from None
                time.sleep(LOCK_POLL_S)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self.lock_fd = descriptor

    def trial_directory(self, number: int) -> Path:
        """Returns the directory of trial `number`, made if need be."""
        directory = self.path / "trials" / str(number)
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def read_summary(self) -> dict[str, Any]:
        """Returns summary.json; {} where there is none yet.

        Raises:
            ConfigError: If it is not a JSON object.
        """
        try:
            summary = json.loads(self.summary_file.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ConfigError([Fault(str(self.summary_file), f"is not JSON: {error}")]) from None
        if not isinstance(summary, dict):
            raise ConfigError([Fault(str(self.summary_file), "is not a JSON object")])
        return summary

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replaces summary.json in one step; whoever reads sees the old one or the new one."""
        write_atomically(self.summary_file, json.dumps(summary, indent=2, allow_nan=False) + "\n")


def whole_checkpoints(trial_directory: Path) -> list[Checkpoint]:
    """Returns the trial's whole checkpoints, oldest first, in order of steps and then of age.

    A directory that starts with a dot is being written; one without manifest.json and a readable
    metadata.json is not whole. Digests are checked by the trial when it loads one, not here.
    """
    found = []
    for path in (trial_directory / "checkpoints").glob("[!.]*/"):
        metadata = path / "metadata.json"
        try:
            steps = int(json.loads(metadata.read_text())["steps_completed"])
            age = metadata.stat().st_mtime_ns
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if (path / "manifest.json").is_file():
            found.append((steps, age, Checkpoint(path.name, steps, path)))
    return [checkpoint for *_, checkpoint in sorted(found, key=lambda entry: entry[:2])]


def latest_checkpoint(trial_directory: Path) -> Checkpoint | None:
    """Returns the whole checkpoint with the most steps, or None."""
    return next(reversed(whole_checkpoints(trial_directory)), None)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # someone else's, but alive
    return True
