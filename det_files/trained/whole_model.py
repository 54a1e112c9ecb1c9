"""The whole model of a full fine-tune in memory, from safetensors or from ZeRO shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from det_files.faults import ConfigError, Fault
from det_files.model_faults import explain_load_error
from det_files.models import auto_class
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.loading_noise import without_loading_noise
from det_files.trained.stored_tensors import StoredTensor
from det_files.trained.weights import CONFIG_FILE, SHARDS_TAG_FILE
from det_files.trained.zero_shards import read_zero_shards

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@without_loading_noise()
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
