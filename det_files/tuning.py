"""How a model is tuned: full, or LoRA on its linear layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault, Faults, did_you_mean
from det_files.hyperparameters import representatives
from det_files.schema import check_mapping, fields_of

if TYPE_CHECKING:
    import torch.nn
    from transformers import PreTrainedModel

METHODS = ("full", "lora")
WEIGHT_UPDATES = ("float32", "stochastic")
SECTION = "hyperparameters.tuning_arguments"


@dataclass(frozen=True)
class TuningArguments:
    """The method and, for LoRA (Hu et al. 2021, arXiv:2106.09685), the shape of its adapters."""

    method: str = field(default="full", metadata={"choices": METHODS, "help": "what is trained"})
    weight_update: str = field(
        default="float32",
        metadata={
            "choices": WEIGHT_UPDATES,
            "help": "float32: masters of trained weights; stochastic: none, bfloat16 weights are "
            "rounded up or down at random, right on average",
        },
    )
    r: int = field(default=8, metadata={"minimum": 1, "help": "rank of the adapters"})
    lora_alpha: float = field(
        default=16, metadata={"exclusive_minimum": 0, "help": "adapters are scaled by alpha / r"}
    )
    lora_dropout: float = field(
        default=0.0, metadata={"minimum": 0, "maximum": 1, "help": "share of inputs dropped"}
    )
    target_modules: str | list[str] = field(
        default="all-linear",
        metadata={"help": "names of layers, all-linear, or a regular expression of whole names"},
    )


def read_tuning_arguments(path: str, mapping: Mapping[str, Any], faults: Faults) -> TuningArguments:
    """Returns the typed arguments; notes LoRA's fields where the method is not LoRA."""
    read = check_mapping(path, mapping, fields_of(TuningArguments), faults)
    # Where full is one of several that are searched over, a trial that draws it is refused too.
    if any(method == "full" for _, method in representatives(read.get("method", "full"))):
        for key in sorted(set(read) - {"method", "weight_update"}):
            faults.add(f"{path}.{key}", "has no effect with method: full; did you mean lora?")
    return TuningArguments(**read)


def apply_tuning(
    model: PreTrainedModel, args: TuningArguments, seed: int = 42, float32_adapters: bool = True
) -> torch.nn.Module:
    """Returns the model with exactly the parameters trainable that the method trains.

    New parameters are drawn from `seed` alone, so that every rank, layout and restart has the same.
    `float32_adapters` is for training without DeepSpeed, which keeps float32 masters itself (and
    under ZeRO-3 would leave the adapters in float32 beside a bfloat16 model).

    Raises:
        ConfigError: `target_modules` names no layer of the model; the layers there are, are listed.
    """
    if args.method == "full":
        return model
    import peft
    import transformers

    targets = _targets(args.target_modules)
    _check_targets(model, targets)
    transformers.set_seed(seed)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=args.r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=targets,
    )
    try:
        return peft.get_peft_model(model, config, autocast_adapter_dtype=float32_adapters)
    except ValueError as error:
        there = ", ".join(linear_layer_names(model))
        reason = f"{str(error).strip().splitlines()[0]}; linear layers are: {there}"
        raise ConfigError(Fault(f"{SECTION}.target_modules", reason)) from error


def _targets(given: str | list[str]) -> str | list[str]:
    """What peft takes: plain names, with commas or alone, would be regular expressions there."""
    if (
        isinstance(given, str)
        and given != "all-linear"
        and re.fullmatch(r"\w+(\s*,\s*\w+)*", given)
    ):
        return re.split(r"\s*,\s*", given)
    return given


def _check_targets(model: torch.nn.Module, targets: str | list[str]) -> None:
    # peft passes over a name that matches nothing as long as another one matches.
    names = [name for name, _ in model.named_modules()]
    there = linear_layer_names(model)
    faults = Faults()
    for target in targets if isinstance(targets, list) else []:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            faults.add(
                f"{SECTION}.target_modules",
                f"{target} matches no layer of this model; linear layers are: {', '.join(there)}"
                f"{did_you_mean(target, there)}",
            )
    faults.raise_if_any()


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
