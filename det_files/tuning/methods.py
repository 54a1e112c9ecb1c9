"""apply_tuning: the model with exactly the parameters trainable that the method trains."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault
from det_files.quantization import quantized_modules
from det_files.tuning.adapters import continue_adapter
from det_files.tuning.arguments import SECTION, TuningArguments
from det_files.tuning.prompt_state import has_prompt
from det_files.tuning.prompts import initialise_prompt
from det_files.tuning.targets import (
    check_targets,
    check_whole_modules,
    linear_layer_names,
    named_targets,
)

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def apply_tuning(
    model: PreTrainedModel,
    args: TuningArguments,
    tokenizer: PreTrainedTokenizerBase,
    seed: int = 42,
    float32_adapters: bool = True,
) -> torch.nn.Module:
    """Returns the model with exactly the parameters trainable that the method trains.

    New parameters are drawn from `seed` alone, so that every rank, layout and restart has the same.
    `float32_adapters` is for training without DeepSpeed, which keeps float32 masters itself (and
    under ZeRO-3 would leave the adapters in float32 beside a bfloat16 model).

    Raises:
        ConfigError: `target_modules` or `modules_to_save` names what the model does not have (what
            it has is listed); `adapter` is none for this model and method.
    """
    if args.method == "full":
        return model
    import torch
    import transformers

    transformers.set_seed(seed)
    if args.adapter is not None:
        tuned = continue_adapter(model, args.adapter, args.method, float32_adapters)
    else:
        tuned = _with_new_parameters(model, args, float32_adapters)
        if args.method == "prompt":
            initialise_prompt(tuned, args, tokenizer, seed)
    if float32_adapters:
        # peft casts adapters, and leaves modules_to_save in the model's precision.
        cast_trained(tuned, torch.float32)
    elif has_prompt(tuned) or quantized_modules(model):
        # peft casts adapters to their layer's dtype; prompts, and adapters of layers in 4 bits, it
        # leaves in float32.
        cast_trained(tuned, model.dtype)
    return tuned


def cast_trained(tuned: torch.nn.Module, dtype: torch.dtype) -> None:
    """Casts the parameters that are trained, in place."""
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def _with_new_parameters(
    model: PreTrainedModel, args: TuningArguments, float32_adapters: bool
) -> PeftModel:
    import peft

    config = _CONFIGS[args.method](model, args)
    try:
        return peft.get_peft_model(model, config, autocast_adapter_dtype=float32_adapters)
    except ValueError as error:
        raise ConfigError(Fault(*_explained(model, args, error))) from error


def _explained(model: PreTrainedModel, args: TuningArguments, error: ValueError) -> tuple[str, str]:
    """(place, reason) of what peft refuses."""
    words = str(error).strip().splitlines()[0]
    if args.takes_packed_rows:
        there = ", ".join(linear_layer_names(model))
        return f"{SECTION}.target_modules", f"{words}; linear layers are: {there}"
    return f"{SECTION}.method", words


def _low_rank(model: PreTrainedModel, args: TuningArguments) -> PeftConfig:
    import peft

    targets = named_targets(
        args.target_modules if args.target_modules is not None else "all-linear"
    )
    check_targets(model, targets)
    check_whole_modules(model, args.modules_to_save)
    return peft.LoraConfig(
        task_type=task_type(model),
        r=args.r,
        lora_alpha=args.lora_alpha,  # type: ignore[arg-type]  # peft takes fractions, too
        lora_dropout=args.lora_dropout,
        target_modules=targets,
        use_rslora=args.use_rslora,
        use_dora=args.method == "dora",
        modules_to_save=args.modules_to_save or None,
    )


def _ia3(model: PreTrainedModel, args: TuningArguments) -> PeftConfig:
    import peft

    if args.target_modules is None:
        return peft.IA3Config(task_type=task_type(model))
    targets = named_targets(args.target_modules)
    check_targets(model, targets)
    return peft.IA3Config(
        task_type=task_type(model),
        target_modules=targets,
        feedforward_modules=_feedforward_of(model),
    )


def _feedforward_of(model: PreTrainedModel) -> str:
    """The layers whose input IA3 scales, and not their output, as far as peft knows of them.

    As an expression of whole names: peft would refuse names that are not among the targets.
    """
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as KNOWN

    known = KNOWN.get(model.config.model_type, [])
    return rf".*\.({'|'.join(map(re.escape, known))})" if known else "(?!)"


def _prompt(model: PreTrainedModel, args: TuningArguments) -> PeftConfig:
    import peft

    return peft.PromptTuningConfig(
        task_type=task_type(model), num_virtual_tokens=args.num_virtual_tokens
    )


def _p_tuning(model: PreTrainedModel, args: TuningArguments) -> PeftConfig:
    import peft

    return peft.PromptEncoderConfig(
        task_type=task_type(model),
        num_virtual_tokens=args.num_virtual_tokens,
        encoder_hidden_size=args.encoder_hidden_size or model.config.hidden_size,
    )


def _prefix(model: PreTrainedModel, args: TuningArguments) -> PeftConfig:
    import peft

    return peft.PrefixTuningConfig(
        task_type=task_type(model), num_virtual_tokens=args.num_virtual_tokens
    )


_CONFIGS: dict[str, Callable[[PreTrainedModel, TuningArguments], Any]] = {
    "lora": _low_rank,
    "dora": _low_rank,
    "ia3": _ia3,
    "prompt": _prompt,
    "p_tuning": _p_tuning,
    "prefix": _prefix,
}


def task_type(model: PreTrainedModel) -> str:
    """peft's word for the kind of the model."""
    if type(model).__name__.endswith("ForSequenceClassification"):
        return "SEQ_CLS"
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
