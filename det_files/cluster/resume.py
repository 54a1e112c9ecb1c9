"""Where a trial goes on: its newest whole checkpoint on the cluster, in a directory of its own."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from determined import core

from det_files.cluster.checkpoint_directory import DirectoryCheckpointContext
from det_files.cluster.checkpoints import DamagedCheckpoint, download
from det_files.cluster.master import NoAnswer, TrialRecord
from det_files.faults import ConfigError

logger = logging.getLogger(__name__)

_made: set[Path] = set()  # directories of this process's downloads


def download_latest(context: core.Context, parent: Path | None = None) -> Path | None:
    """Downloads the newest whole checkpoint of the trial, once a host; None where it has none.

    All ranks call this in step. A damaged one is named and the one before it is taken. `parent`
    is where the private directory is made (default: the system's for temporary files).

    Raises:
        ConfigError: all of them are damaged; starting over must be the user's choice.
        RuntimeError: the storage or the master failed; trying again may help.
    """
    uuid: str | None = context.info.latest_checkpoint if context.info is not None else None
    if uuid is None:
        return None
    private = make_private(context, "resume", parent)
    _made.add(private)
    damaged: list[str] = []
    while uuid is not None:
        try:
            found = download(context, uuid, private)
            logger.info("resuming from checkpoint %s", uuid)
            return found
        except DamagedCheckpoint as error:
            logger.warning("%s\n  taking the one before it", error)
            damaged.append(uuid)
            uuid = _newest(context, damaged)
    raise ConfigError(
        f"every checkpoint of this trial is damaged or incomplete ({', '.join(damaged)}; see the "
        "log): start a new experiment, or delete them to begin again"
    )


def make_private(context: core.Context, purpose: str, parent: Path | None) -> Path:
    """A new directory of this trial on this host; what its earlier runs left there is removed.

    All ranks call this in step; those of a host get the same one.
    """
    distributed, made = context.distributed, None
    if distributed.local_rank == 0:
        prefix = f"det-files-{purpose}-{context.info.trial.trial_id}-{distributed.cross_rank}-"
        for left in Path(parent or tempfile.gettempdir()).glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        made = tempfile.mkdtemp(prefix=prefix, dir=parent)
    return Path(distributed.broadcast_local(made))


def is_own(context: core.Context, checkpoint: str | Path | None) -> bool:
    """True where a checkpoint is the trial's own: not one that it was merely started from."""
    if checkpoint is None:
        return False
    if isinstance(context.checkpoint, DirectoryCheckpointContext):
        return Path(checkpoint).resolve().parent == context.checkpoint.directory.resolve()
    # The master counts steps of the trial's own checkpoints only; of a warm start there are none.
    own = context.info is not None and context.info.trial._steps_completed > 0
    return own and Path(checkpoint).parent in _made


def _newest(context: core.Context, but: list[str]) -> str | None:
    """The trial's newest checkpoint on the master but for some, on every rank alike."""
    found: tuple[str | None, str] | None = None
    if context.distributed.rank == 0:
        try:
            uuids = TrialRecord(context.info).checkpoint_uuids()
            found = (next((uuid for uuid in uuids if uuid not in but), None), "")
        except NoAnswer as error:
            found = (None, str(error))
    uuid, failure = context.distributed.broadcast(found)
    if failure:
        raise RuntimeError(f"the trial's other checkpoints could not be listed: {failure}")
    return uuid


def discard_download(distributed: core.DistributedContext, checkpoint: Path) -> None:
    """Removes what `download_latest` made, once a host; any other directory is left alone.

    All ranks call this in step: it waits until none reads the checkpoint any more.
    """
    distributed.allgather(None)
    if distributed.local_rank == 0 and checkpoint.parent in _made:
        shutil.rmtree(checkpoint.parent, ignore_errors=True)
