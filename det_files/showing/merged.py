"""Whether merging the adapter into the weights changes what the model computes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from det_files.export.check import Difference, compare_logits
from det_files.export.forms import find_form_faults
from det_files.export.merging import export_merged
from det_files.faults import Faults
from det_files.trained.checkpoint import TrainedCheckpoint

MAX_SHARD_SIZE = "5GB"


def why_not_merged(checkpoint: TrainedCheckpoint) -> str | None:
    """Why there is nothing to merge; None where there is."""
    faults = Faults()
    find_form_faults(checkpoint, "merged", faults)
    return faults.found[0].message.partition(": say ")[0] if faults.found else None


def check_merged(checkpoint: TrainedCheckpoint) -> Difference | None:
    """Returns how far the merged model is from base and adapter; None where nothing is merged.

    It is exported to a temporary directory in the run's precision, as by `det_files.export`, and
    read back.

    Raises:
        ConfigError: see `export_merged`.
    """
    if why_not_merged(checkpoint):
        return None
    dtype = checkpoint.model.dtype
    with tempfile.TemporaryDirectory(prefix="det_files_merged_") as directory:
        export_merged(checkpoint, Path(directory), dtype, MAX_SHARD_SIZE)
        return compare_logits(checkpoint, Path(directory), "merged", dtype)
