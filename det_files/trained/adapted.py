"""The model that a run started from, and the same with the trained adapter on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault, Faults
from det_files.gguf_conversion import load_gguf
from det_files.models import SECTION, gguf_conversion_command, load_model, load_tokenizer
from det_files.quantization import dequantize
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.loading_noise import without_loading_noise
from det_files.trained.tokenizer import with_own_tokenizer
from det_files.trained.weights import ADAPTER_WEIGHTS
from det_files.tuning.adapters import load_adapter
from det_files.vocabulary import fit_vocabulary

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FROM_RANDOM = "the run started from random weights, which lie nowhere: there is no base model"


@without_loading_noise()
def load_with_adapter(
    checkpoint: TrainedCheckpoint, adapter: Path, dtype: torch.dtype, as_quantized: bool = False
) -> Any:
    """The base model in `dtype` with the adapter of a directory on it, in float32 (a PeftModel).

    Raises:
        ConfigError: see `load_base_model`; the adapter does not fit it, or lacks tensors.
    """
    base = load_base_model(checkpoint, dtype, as_quantized)
    tuned = load_adapter(base, str(adapter), float32_adapters=True)
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
            rest = f" and {len(names) - 1} others" if len(names) > 1 else ""
            faults.add(str(file), f"{what} {min(names)}{rest}")
    faults.raise_if_any()


@without_loading_noise()
def load_base_model(
    checkpoint: TrainedCheckpoint, dtype: torch.dtype, as_quantized: bool = False
) -> PreTrainedModel:
    """The model that the checkpoint's run started from, in a form that `save_pretrained` takes.

    One in 4 bits comes in `dtype` with the values that 4 bits have; `as_quantized`, in its 4 bits.

    Raises:
        ConfigError: it cannot be found or loaded.
    """
    args = checkpoint.model
    if args.model_name_or_path is None:
        raise ConfigError(Fault(str(checkpoint.path), FROM_RANDOM))
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
    return dequantize(model, dtype) if quantized and not as_quantized else model
