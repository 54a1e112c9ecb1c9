"""Where a trial goes on: its newest whole checkpoint on the cluster, in a directory of its own."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from determined import core
from determined.common.api.errors import BadRequestException

from det_files.cluster.checkpoints import DamagedCheckpoint, download
from det_files.cluster.master import TrialRecord
from det_files.faults import ConfigError

logger = logging.getLogger(__name__)

_PREFIX = "resume-"


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
    distributed = context.distributed
    made = tempfile.mkdtemp(prefix=_PREFIX, dir=parent) if distributed.local_rank == 0 else None
    private = Path(distributed.broadcast_local(made))
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


def _newest(context: core.Context, but: list[str]) -> str | None:
    """The trial's newest checkpoint on the master but for some, on every rank alike."""
    found: tuple[str | None, str] | None = None
    if context.distributed.rank == 0:
        try:
            uuids = TrialRecord(context.info).checkpoint_uuids()
            found = (next((uuid for uuid in uuids if uuid not in but), None), "")
        except BadRequestException as error:
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
    if distributed.local_rank == 0 and checkpoint.parent.name.startswith(_PREFIX):
        shutil.rmtree(checkpoint.parent, ignore_errors=True)
