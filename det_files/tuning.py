"""How a model is tuned: full, or LoRA on its linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault, Faults
from det_files.schema import check_mapping, fields_of

if TYPE_CHECKING:
    import torch.nn
    from transformers import PreTrainedModel

METHODS = ("full", "lora")
SECTION = "hyperparameters.tuning_arguments"


@dataclass(frozen=True)
class TuningArguments:
    """The method and, for LoRA (Hu et al. 2021, arXiv:2106.09685), the shape of its adapters."""

    method: str = field(default="full", metadata={"choices": METHODS, "help": "what is trained"})
    r: int = field(default=8, metadata={"minimum": 1, "help": "rank of the adapters"})
    lora_alpha: float = field(
        default=16, metadata={"exclusive_minimum": 0, "help": "adapters are scaled by alpha / r"}
    )
    lora_dropout: float = field(
        default=0.0, metadata={"minimum": 0, "maximum": 1, "help": "share of inputs dropped"}
    )
    target_modules: str | list[str] = field(
        default="all-linear", metadata={"help": "names of linear layers, or all-linear"}
    )


def read_tuning_arguments(path: str, mapping: Mapping[str, Any], faults: Faults) -> TuningArguments:
    """Returns the typed arguments; notes LoRA's fields where the method is not LoRA."""
    read = check_mapping(path, mapping, fields_of(TuningArguments), faults)
    if read.get("method", "full") == "full":
        for key in sorted(set(read) - {"method"}):
            faults.add(f"{path}.{key}", "has no effect with method: full; did you mean lora?")
    return TuningArguments(**read)


def apply_tuning(model: PreTrainedModel, args: TuningArguments) -> torch.nn.Module:
    """Returns the model with exactly the parameters trainable that the method trains.

    Raises:
        ConfigError: `target_modules` names no layer of the model; the layers there are, are listed.
    """
    if args.method == "full":
        return model
    import peft

    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=args.r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=args.target_modules,
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(
            Fault(
                f"{SECTION}.target_modules",
                f"{args.target_modules} matches no linear layer of this model; there are: "
                + ", ".join(linear_layer_names(model)),
            )
        ) from error


def linear_layer_names(model: torch.nn.Module) -> list[str]:
    """The last parts of the names of all linear layers, e.g. ["down_proj", "q_proj"]."""
    kinds = ("Linear", "Conv1D")
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if type(module).__name__ in kinds
        }
    )
