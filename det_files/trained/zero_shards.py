"""The whole model's tensors out of DeepSpeed's ZeRO shards, put together one at a time.

    <checkpoint>/latest                               the tag: the name of the directory below
                 <tag>/zero_pp_rank_<r>_mp_rank_00_model_states.pt    stage 3: names and shapes
                       *_optim_states.pt                              stage 3: float32 masters
                       mp_rank_00_model_states.pt                     stages 1, 2: the weights

Stage 3 goes through DeepSpeed's own zero_to_fp32 in its lazy mode, which maps the shards' files and
joins a tensor's parts when it is asked for. Its eager path for stages 1 and 2 holds the model
twice, and is not needed: there every rank has all weights, and the model's file is mapped.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault
from det_files.trained.pickled_enums import GETATTR, gets_members_alone
from det_files.trained.stored_tensors import StoredTensor
from det_files.trained.weights import SHARDS_TAG_FILE

if TYPE_CHECKING:
    import torch

_STAGE_3_FILE = "zero_pp_rank_0_mp_rank_00_model_states.pt"
_WHOLE_FILE = "mp_rank_00_model_states.pt"
# What DeepSpeed's shards name besides tensors and plain containers. Anything else in a pickle could
# run code, and zero_to_fp32 reads with weights_only=False.
_KNOWN_GLOBALS = {
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
}


def read_zero_shards(checkpoint: Path) -> dict[str, StoredTensor]:
    """The model's tensors by name; tied weights appear under each of their names.

    At stage 3 they are DeepSpeed's float32 masters, at 1 and 2 the weights as the model holds them.

    Raises:
        ConfigError: a shard is missing or holds more than a shard should, or the model was split
            among ranks in another way (tensor or pipeline parallel).
    """
    directory = checkpoint / (checkpoint / SHARDS_TAG_FILE).read_text(encoding="utf-8").strip()
    _check_pickles(directory)
    if any(directory.glob("*mp_rank_01_*")) or any(directory.glob("layer_*")):
        raise ConfigError(
            Fault(str(directory), "was saved by a tensor or pipeline parallel run: not read here")
        )
    if (directory / _STAGE_3_FILE).is_file():
        return _read_stage_3(checkpoint, directory)
    if (directory / _WHOLE_FILE).is_file():
        return _read_whole(directory / _WHOLE_FILE)
    raise ConfigError(Fault(str(directory), f"holds neither {_STAGE_3_FILE} nor {_WHOLE_FILE}"))


def _check_pickles(directory: Path) -> None:
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from torch.serialization import get_unsafe_globals_in_checkpoint

    faults = []
    for file in sorted(directory.glob("*_states.pt")):
        try:
            unknown = set(get_unsafe_globals_in_checkpoint(file)) - _KNOWN_GLOBALS
            if GETATTR in unknown and gets_members_alone(file, ZeroStageEnum):
                unknown.remove(GETATTR)
        except (OSError, RuntimeError, ValueError) as error:
            faults.append(Fault(str(file), f"cannot be read: {str(error).splitlines()[0]}"))
            continue
        if unknown:
            reason = f"names {', '.join(sorted(unknown))}, which is not part of a ZeRO shard"
            faults.append(Fault(str(file), reason))
    if faults:
        raise ConfigError(faults)


def _read_stage_3(checkpoint: Path, directory: Path) -> dict[str, StoredTensor]:
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    said = io.StringIO()
    try:
        # It prints what it does, and a bar for each kind of file.
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            state: dict[str, Any] = get_fp32_state_dict_from_zero_checkpoint(
                str(checkpoint), tag=directory.name, lazy_mode=True
            )
    except (ValueError, KeyError, FileNotFoundError, NotImplementedError) as error:
        raise ConfigError(Fault(str(directory), str(error).splitlines()[0])) from error
    # A buffer is a tensor already; all else is joined by `contiguous`.
    return {
        name: StoredTensor(tuple(tensor.shape), tensor.dtype, tensor.contiguous)
        for name, tensor in state.items()
    }


def _read_whole(file: Path) -> dict[str, StoredTensor]:
    import torch

    state: dict[str, torch.Tensor] = torch.load(
        file, map_location="cpu", mmap=True, weights_only=True
    )["module"]
    return {
        name: StoredTensor(tuple(tensor.shape), tensor.dtype, tensor.clone)
        for name, tensor in state.items()
    }
