"""`merged`: the base model with the adapter's weights in its own; `adapter`: the adapter alone."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.export.tokenizer import export_tokenizer
from det_files.faults import ConfigError, Fault
from det_files.trained.adapted import load_with_adapter
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.stored_tensors import check_range
from det_files.trained.weights import ADAPTER_WEIGHTS
from det_files.tuning.adapters import ADAPTER_FILE
from det_files.tuning.prompt_state import ENCODER_FILE

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def export_merged(
    checkpoint: TrainedCheckpoint, output: Path, dtype: str, max_shard_size: str
) -> None:
    """Writes the base model with LoRA, DoRA or IA3 merged, in `dtype`, and the tokenizer.

    Raises:
        ConfigError: the base model cannot be had, the adapter does not fit it or is not whole, or
            what is merged is NaN or beyond the range of `dtype`.
    """
    import torch

    model = merge(checkpoint, getattr(torch, dtype))
    model.config.use_cache = True  # off for training alone
    model.save_pretrained(output, max_shard_size=max_shard_size)
    export_tokenizer(checkpoint, output)


def export_adapter(checkpoint: TrainedCheckpoint, output: Path) -> None:
    """Writes the adapter's own files and the tokenizer; no optimizer state, nothing of the run."""
    for name in (ADAPTER_FILE, ADAPTER_WEIGHTS, ENCODER_FILE):
        if (checkpoint.path / name).is_file():
            shutil.copyfile(checkpoint.path / name, output / name)
    export_tokenizer(checkpoint, output)


def merge(checkpoint: TrainedCheckpoint, dtype: torch.dtype) -> PreTrainedModel:
    """The base model in `dtype` with the adapter merged.

    Each layer is merged in float32 and rounded once: DoRA's norms, computed in bfloat16, would
    scale whole rows a little. One layer at a time, so that memory is that of the model in `dtype`.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    tuned: Any = load_with_adapter(checkpoint, checkpoint.path, dtype)
    try:
        for layer in list(tuned.modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.float()
                layer.merge(safe_merge=True)
                layer.to(dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="All adapters are already merged")
            merged: PreTrainedModel = tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:  # safe_merge's: NaN
        raise ConfigError(Fault(str(checkpoint.path / ADAPTER_WEIGHTS), str(error))) from error
    # What modules_to_save trained as a whole may have another precision.
    merged = merged.to(dtype)
    for name, tensor in merged.state_dict().items():
        check_range(name, tensor)
    return merged
