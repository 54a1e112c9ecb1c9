"""`hf`: the whole model of a full fine-tune as safetensors, with all that is needed to load it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.export.tokenizer import GENERATION_FILE, export_tokenizer
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.stored_tensors import (
    check_range,
    read_safetensors,
    write_safetensors,
)
from det_files.trained.weights import CONFIG_FILE
from det_files.trained.whole_model import checked_shards, fill, make_skeleton, untied

if TYPE_CHECKING:
    import torch

# They lie beside its shards, and are no code of a model.
DEEPSPEEDS_SCRIPTS = ("zero_to_fp32.py", "zero_to_torch.py")


def export_whole(
    checkpoint: TrainedCheckpoint, output: Path, dtype: str, max_shard_size: str
) -> None:
    """Writes weights in `dtype`, configurations, tokenizer and chat template.

    Weights are copied one tensor at a time. Only where transformers stores an architecture
    otherwise than it computes it (mixtures of experts), and there are ZeRO shards alone, is the
    whole model brought into memory to be converted.

    Raises:
        ConfigError: the ZeRO shards are not whole, or not of this model; weights are NaN or beyond
            the range of `dtype`.
    """
    import torch

    wanted: torch.dtype = getattr(torch, dtype)
    if checkpoint.has_whole_weights:
        write_safetensors(read_safetensors(checkpoint.path), output, wanted, max_shard_size)
    else:
        _export_zero_shards(checkpoint, output, wanted, max_shard_size)
    config = json.loads((checkpoint.path / CONFIG_FILE).read_text(encoding="utf-8"))
    # Training goes without the key/value cache and says so in the config; generation needs it.
    config |= {"dtype": dtype, "use_cache": True}
    config.pop("torch_dtype", None)
    (output / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if (checkpoint.path / GENERATION_FILE).is_file():
        shutil.copyfile(checkpoint.path / GENERATION_FILE, output / GENERATION_FILE)
    # A model that brings its own code cannot be loaded without it.
    for file in checkpoint.path.glob("*.py"):
        if file.name not in DEEPSPEEDS_SCRIPTS:
            shutil.copyfile(file, output / file.name)
    export_tokenizer(checkpoint, output)


def _export_zero_shards(
    checkpoint: TrainedCheckpoint, output: Path, dtype: torch.dtype, max_shard_size: str
) -> None:
    from transformers.conversion_mapping import get_model_conversion_mapping

    skeleton = make_skeleton(checkpoint)
    tensors = untied(skeleton, checked_shards(checkpoint, skeleton))
    if get_model_conversion_mapping(skeleton, add_legacy=False):
        fill(skeleton, tensors, dtype)
        for name, tensor in skeleton.state_dict().items():
            check_range(name, tensor)
        skeleton.save_pretrained(output, max_shard_size=max_shard_size)
    else:
        write_safetensors(tensors, output, dtype, max_shard_size)
