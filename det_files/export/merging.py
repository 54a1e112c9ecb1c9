"""`merged`: the base model with the adapter's weights in its own; `adapter`: the adapter alone."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.export.checkpoint import TrainedCheckpoint
from det_files.export.stored_tensors import check_range
from det_files.export.tokenizer import export_tokenizer, with_own_tokenizer
from det_files.export.weights import ADAPTER_WEIGHTS
from det_files.faults import ConfigError, Fault, Faults
from det_files.gguf_conversion import load_gguf
from det_files.models import SECTION, gguf_conversion_command, load_model, load_tokenizer
from det_files.quantization import dequantize
from det_files.tuning.adapters import ADAPTER_FILE, load_adapter
from det_files.tuning.prompt_state import ENCODER_FILE
from det_files.vocabulary import fit_vocabulary

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


def load_with_adapter(checkpoint: TrainedCheckpoint, adapter: Path, dtype: torch.dtype) -> Any:
    """The base model in `dtype` with the adapter of a directory on it, in float32 (a PeftModel).

    Raises:
        ConfigError: see `load_base`; the adapter does not fit it, or lacks tensors.
    """
    tuned = load_adapter(load_base(checkpoint, dtype), str(adapter), float32_adapters=True)
    _check_complete(tuned, adapter / ADAPTER_WEIGHTS)
    return tuned


def _check_complete(tuned: Any, file: Path) -> None:
    """Refuses an adapter that is not all there: peft only warns, and takes what is new for it."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    wanted = get_peft_model_state_dict(tuned, save_embedding_layers=False).keys()
    with safe_open(file, framework="pt") as stream:
        found = set(stream.keys())
    # Tables of a larger vocabulary lie there, too, which is no fault.
    strange = {name for name in found - wanted if "lora_" in name or "ia3_" in name}
    faults = Faults()
    for what, names in (("lacks", wanted - found), ("has, and the model has not,", strange)):
        if names:
            faults.add(str(file), f"{what} {min(names)} and {len(names) - 1} others")
    faults.raise_if_any()


def load_base(checkpoint: TrainedCheckpoint, dtype: torch.dtype) -> PreTrainedModel:
    """The model that the checkpoint's run started from, in a form that `save_pretrained` takes.

    Raises:
        ConfigError: it cannot be found or loaded.
    """
    args = checkpoint.model
    if args.model_name_or_path is None:
        reason = "the run started from random weights, which no adapter can be put on again"
        raise ConfigError(Fault(str(checkpoint.path), reason))
    if args.gguf_file:
        file = Path(args.model_name_or_path) / args.gguf_file
        if not file.is_file():
            reason = f"is not here; make a directory of it first: {gguf_conversion_command(args)}"
            raise ConfigError(Fault(str(file), reason))
        model, _ = load_gguf(file, str(dtype).removeprefix("torch."))
        tokens = len(load_tokenizer(with_own_tokenizer(checkpoint)))
        fit_vocabulary(model, tokens, f"{SECTION}.tokenizer_name", extended=True)
        return model
    quantized = args.quantization != "none"
    wanted = None if quantized else dtype  # 4 bits multiply in the run's own
    model, _ = load_model(with_own_tokenizer(checkpoint), wanted, kind=checkpoint.kind)
    # What the adapter was trained on: the weights as nf4 has rounded them, which differ from the
    # model's own by far more than a merge may change.
    return dequantize(model, dtype) if quantized else model
