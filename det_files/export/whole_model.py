"""`hf`: the whole model of a full fine-tune as safetensors, with all that is needed to load it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.export.checkpoint import TrainedCheckpoint
from det_files.export.stored_tensors import (
    StoredTensor,
    check_range,
    read_safetensors,
    write_safetensors,
)
from det_files.export.tokenizer import GENERATION_FILE, export_tokenizer
from det_files.export.weights import CONFIG_FILE, SHARDS_TAG_FILE
from det_files.export.zero_shards import read_zero_shards
from det_files.faults import ConfigError, Fault
from det_files.model_faults import explain_load_error
from det_files.models import auto_class

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

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


def load_whole(checkpoint: TrainedCheckpoint, dtype: torch.dtype) -> PreTrainedModel:
    """The checkpoint's whole model in memory, from safetensors or from ZeRO shards."""
    if checkpoint.has_whole_weights:
        model: PreTrainedModel = auto_class(checkpoint.kind).from_pretrained(
            checkpoint.path, dtype=dtype, trust_remote_code=checkpoint.model.trust_remote_code
        )
        return model
    skeleton = make_skeleton(checkpoint)
    fill(skeleton, untied(skeleton, checked_shards(checkpoint, skeleton)), dtype)
    return skeleton


def make_skeleton(checkpoint: TrainedCheckpoint) -> PreTrainedModel:
    """The model of the checkpoint's config without memory for its parameters."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig

    code = checkpoint.model.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(checkpoint.path, trust_remote_code=code)
        # Buffers that no checkpoint has (rotary frequencies) are computed as ever.
        with init_empty_weights(include_buffers=False):
            model: PreTrainedModel = auto_class(checkpoint.kind).from_config(
                config, trust_remote_code=code
            )
    except (OSError, ValueError, KeyError) as error:
        reason = explain_load_error(str(checkpoint.path), error)
        raise ConfigError(Fault(str(checkpoint.path / CONFIG_FILE), reason)) from error
    return model


def checked_shards(
    checkpoint: TrainedCheckpoint, skeleton: PreTrainedModel
) -> dict[str, StoredTensor]:
    """The tensors of the ZeRO shards, which have the names and shapes of the model's.

    Raises:
        ConfigError: some are missing, or there are others; see also `read_zero_shards`.
    """
    found = read_zero_shards(checkpoint.path)
    shapes = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    wrong = sorted(
        name
        for name in shapes.keys() | found.keys()
        if name not in found or found[name].shape != shapes.get(name)
    )
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        reason = f"the ZeRO shards and {CONFIG_FILE} differ in {shown}"
        raise ConfigError(Fault(str(checkpoint.path / SHARDS_TAG_FILE), reason))
    return found


def untied(
    skeleton: PreTrainedModel, tensors: Mapping[str, StoredTensor]
) -> dict[str, StoredTensor]:
    """The tensors without those that the model ties to others when it is loaded."""
    return {name: t for name, t in tensors.items() if name not in skeleton.all_tied_weights_keys}


def fill(
    skeleton: PreTrainedModel, tensors: Mapping[str, StoredTensor], dtype: torch.dtype
) -> None:
    """Gives a skeleton its parameters, in `dtype`."""
    skeleton.load_state_dict(
        {name: tensor.read_as(dtype) for name, tensor in tensors.items()}, strict=False, assign=True
    )
    skeleton.tie_weights()
