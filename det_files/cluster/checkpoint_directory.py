"""Checkpoints off-cluster: whole directories under checkpoints/, or nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from determined import core
from determined.common import storage

from det_files.cluster.checkpoints import DamagedCheckpoint, check_whole
from det_files.cluster.manifest import METADATA_FILE, missing_files
from det_files.durable import sync_directory, sync_tree
from det_files.faults import ConfigError

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_UNFINISHED = "."  # a name that starts so is not a checkpoint yet


class _LinkingStorage(storage.SharedFSStorageManager):
    """Stores by hard link where it can: the staged files are on the same disk, and huge."""

    def pre_store_path(self, dst: str) -> Path:
        return super().pre_store_path(f"{_UNFINISHED}{dst}")

    def upload(self, src: Any, dst: str, paths: set[str] | None = None) -> None:
        target = Path(self._base_path) / f"{_UNFINISHED}{dst}"
        target.mkdir(parents=True, exist_ok=True)
        names = self._list_directory(src) if paths is None else paths
        for name in sorted(names):
            source, copy = Path(src) / name, target / name
            if source.is_dir():
                copy.mkdir(parents=True, exist_ok=True)
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            try:
                os.link(source, copy)
            except OSError:
                shutil.copy2(source, copy)


class DirectoryCheckpointContext(core.DummyCheckpointContext):
    """A CheckpointContext over `<trial_dir>/checkpoints/<uuid>`.

    An upload is written beside, flushed to disk, and renamed when all ranks are done: a checkpoint
    is whole or it is not there. Of the older ones `keep` newest stay, and the best; None or less
    than 1 keeps all, as `save_total_limit` does.
    """

    def __init__(
        self, distributed: core.DistributedContext, trial_dir: Path, keep: int | None
    ) -> None:
        self.directory = trial_dir / CHECKPOINTS
        self._keep = keep
        self._damaged: set[Path] = set()
        self.directory.mkdir(parents=True, exist_ok=True)
        super().__init__(distributed, _LinkingStorage(str(self.directory)))
        if distributed.rank == 0:
            for unfinished in self.directory.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(unfinished, ignore_errors=True)

    def _report_checkpoint(
        self,
        storage_id: str,
        resources: dict[str, int] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Publishes: Determined calls this on the chief when every rank has uploaded."""
        unfinished = self.directory / f"{_UNFINISHED}{storage_id}"
        if incomplete := missing_files(unfinished):
            raise RuntimeError(
                "a checkpoint is not complete; do all nodes share this directory?\n  "
                + "\n  ".join(incomplete)
            )
        sync_tree(unfinished)
        unfinished.rename(self.directory / storage_id)
        sync_directory(self.directory)
        logger.info("saved checkpoint %s", self.directory / storage_id)
        self._remove_old()

    def _remove_old(self) -> None:
        if self._keep is None or self._keep < 1:
            return
        found = published_checkpoints(self.directory)
        # A damaged one of a later step must not push out what has just been saved.
        newest_first = [path for path in found if path not in self._damaged]
        kept = set(newest_first[: self._keep])
        best = best_checkpoint(newest_first)
        for path in found:
            if path not in kept and path != best:
                # Renamed first: a kill in the middle must not leave half of one under its name.
                doomed = path.with_name(f"{_UNFINISHED}removed-{path.name}")
                path.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)

    def latest_whole(self) -> Path | None:
        """The newest checkpoint that matches its manifest; damaged ones are named and passed over.

        All ranks call this in step and get the same answer. None: there is no checkpoint yet.

        Raises:
            ConfigError: all of them are damaged; starting over must be the user's choice.
        """
        found = self._dist.broadcast(
            published_checkpoints(self.directory) if self._dist.rank == 0 else None
        )
        for path in found or []:
            try:
                check_whole(self._dist, path)
                return path
            except DamagedCheckpoint as error:
                self._damaged.add(path)
                if self._dist.rank == 0:
                    logger.warning("%s\n  taking the one before it", error)
        if found:
            raise ConfigError(
                f"every checkpoint in {self.directory} is damaged or incomplete (see the log); "
                "remove them to start from the beginning"
            )
        return None


def published_checkpoints(directory: Path) -> list[Path]:
    """Checkpoints of a trial, the newest (most steps, then latest) first."""
    found = [p for p in directory.glob("*") if p.is_dir() and p.name[0] != _UNFINISHED]
    return sorted(found, key=lambda p: (read_metadata(p)["steps_completed"], p.stat().st_mtime))[
        ::-1
    ]


def best_checkpoint(checkpoints: list[Path]) -> Path | None:
    """The checkpoint whose metadata says `is_best`; the newest where several do."""
    return next((path for path in checkpoints if read_metadata(path).get("is_best")), None)


def read_metadata(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's metadata.json; -1 steps where it cannot be read, so that it comes last."""
    try:
        read = json.loads((checkpoint / METADATA_FILE).read_text(encoding="utf-8"))
        return {"steps_completed": -1} | read
    except (OSError, ValueError, TypeError):
        return {"steps_completed": -1}
