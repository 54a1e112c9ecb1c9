"""Checkpoints: a step's files uploaded once each with a manifest; the latest whole one restored."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from determined import core
from determined.errors import CheckpointNotFound

from det_files.cluster.manifest import (
    MANIFEST_FILE,
    METADATA_FILE,
    damage,
    entries,
    list_files,
    write_manifest,
)
from det_files.provenance import git_commit, versions
from det_files.rungs import smaller_is_better

if TYPE_CHECKING:
    from transformers import TrainerState

logger = logging.getLogger(__name__)


class DamagedCheckpoint(Exception):
    """A checkpoint that does not match its manifest; the text names every file."""


def checkpoint_metadata(state: TrainerState, searcher: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a checkpoint: how far training was, how good, and what made it."""
    said = {
        "steps_completed": state.global_step,
        "epoch": state.epoch,
        "is_best": is_best(state, searcher),
        "tokens_seen": state.num_input_tokens_seen or None,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    return {name: value for name, value in said.items() if value is not None}


def is_best(state: TrainerState, searcher: Mapping[str, Any]) -> bool:
    """True where this step's validation is the best so far by the searcher's metric."""
    name = searcher.get("metric")
    sign = 1 if smaller_is_better(searcher) else -1
    rows = [
        (sign * row[name], row["step"])
        for row in state.log_history
        if name in row and math.isfinite(row[name])
    ]
    return bool(rows) and min(rows, key=lambda row: row[0])[1] == state.global_step


def remove_other_steps(distributed: core.DistributedContext, directory: Path) -> None:
    """Removes what nodes but the first staged before: the Trainer rotates on that one alone."""
    if distributed.cross_rank == 0 or distributed.local_rank != 0:
        return
    for other in directory.parent.glob("checkpoint-*"):
        if other != directory:
            shutil.rmtree(other, ignore_errors=True)


def upload(
    context: core.Context,
    directory: Path,
    metadata: Mapping[str, Any],
    extra_files: Mapping[str, str] | None = None,
) -> str:
    """Uploads a directory that all ranks wrote together, and returns the checkpoint's uuid.

    All ranks call this in step. Each file is digested and uploaded by one rank that sees it;
    the chief adds `extra_files` (name → text) and the manifest, which is uploaded with them.
    """
    distributed = context.distributed
    if distributed.rank == 0:
        for name, text in (extra_files or {}).items():
            (directory / name).write_text(text, encoding="utf-8")
    distributed.allgather(None)  # every rank has written its part
    listed = list_files(directory) if directory.is_dir() else {}
    # A manifest or metadata left by an upload of the same step that failed is made again.
    names = [name for name in listed if name not in (MANIFEST_FILE, METADATA_FILE)]
    mine = assign(distributed.allgather(names))[distributed.rank]
    described = distributed.allgather(entries(directory, mine))
    if distributed.rank == 0:
        write_manifest(directory, {name: e for part in described for name, e in part.items()})
        mine = [*mine, MANIFEST_FILE]
    chosen = frozenset(mine)
    if not chosen:
        return context.checkpoint.upload(None, None, shard=True)
    # Determined refuses an upload where ranks disagree on the metadata; the chief's is what counts.
    said = dict(metadata) if distributed.rank == 0 else None
    return context.checkpoint.upload(directory, said, shard=True, selector=chosen.__contains__)


def assign(seen: Sequence[Sequence[str]]) -> list[list[str]]:
    """Gives each file to one of the ranks that see it: `seen[rank]` → files, the same shape back.

    Ranks of one host see the same files, ranks of others perhaps not; files go round among those
    that can read them, so that the work is shared.
    """
    seers: dict[str, list[int]] = {}
    for rank, names in enumerate(seen):
        for name in names:
            seers.setdefault(name, []).append(rank)
    shares: list[list[str]] = [[] for _ in seen]
    for name, ranks in sorted(seers.items()):
        shares[min(ranks, key=lambda rank: (len(shares[rank]), rank))].append(name)
    return shares


def download(context: core.Context, uuid: str, directory: Path) -> Path:
    """Downloads a checkpoint once a host into `directory`/`uuid` and checks it; returns the path.

    Raises:
        DamagedCheckpoint: it is not there, or a file does not match the manifest.
        RuntimeError: the storage failed; trying again may help.
        Each on every rank alike.
    """
    target = directory / uuid
    distributed = context.distributed
    missing = failure = None
    if distributed.local_rank == 0:
        shutil.rmtree(target, ignore_errors=True)
        # No shared download: an error in it would leave the other ranks waiting.
        try:
            context.checkpoint.download(uuid, target, core.DownloadMode.NoSharedDownload)
        except CheckpointNotFound as error:
            missing = str(error)
        except Exception as error:  # a storage's own; passed on to every rank below
            failure = f"{type(error).__name__}: {error}"
    for raised, found in ((DamagedCheckpoint, missing), (RuntimeError, failure)):
        said = [text for text in distributed.allgather(found) if text]
        if said:
            raise raised(f"checkpoint {uuid}: {said[0]}")
    check_whole(distributed, target)
    return target


def check_whole(distributed: core.DistributedContext, directory: Path) -> None:
    """Checks a checkpoint against its manifest, the ranks of a host dividing the reading.

    Raises:
        DamagedCheckpoint: on every rank alike.
    """
    found = damage(directory, (distributed.local_rank, distributed.local_size))
    everywhere = sorted({line for part in distributed.allgather(found) for line in part})
    if everywhere:
        raise DamagedCheckpoint(f"damaged checkpoint {directory}:\n  " + "\n  ".join(everywhere))
