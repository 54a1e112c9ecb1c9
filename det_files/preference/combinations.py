"""What preference arguments demand of the other sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from det_files.data.arguments import DataArguments
from det_files.data.preference_rows import LABELLED, PAIR
from det_files.faults import Faults
from det_files.models import ModelArguments
from det_files.preference.arguments import SECTION, PreferenceArguments
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.targets import named_targets

_TUNING = ("full", "lora", "dora", "ia3")
_MODEL = "hyperparameters.model_arguments"
_DATA = "hyperparameters.data_arguments"
_TUNED = "hyperparameters.tuning_arguments"
_TRAINING = "hyperparameters.training_arguments"
_COLUMNS = {
    "grpo": (("input", "output"), ("messages",)),
    "kto": (PAIR, LABELLED),
}


def check_preference(
    preference: PreferenceArguments,
    model: ModelArguments,
    data: DataArguments,
    tuning: TuningArguments,
    training: Mapping[str, Any],
    slots: int,
    faults: Faults,
) -> None:
    """Notes arguments that are right by themselves and wrong with a preference method."""
    method = preference.method
    if tuning.method not in _TUNING:
        reason = f"{tuning.method} is not offered with preferences: {', '.join(_TUNING)}"
        faults.add(f"{_TUNED}.method", reason)
    if method in ("dpo", "kto", "grpo"):
        _check_output_layer(tuning, faults)
    if method != "grpo" and tuning.lora_dropout and preference.options.get("disable_dropout", True):
        reason = "has no effect unless preference_arguments.disable_dropout is false"
        faults.add(f"{_TUNED}.lora_dropout", reason)
    if model.quantization != "none":
        reason = "not offered with preferences: TRL would train the adapters in bfloat16"
        faults.add(f"{_MODEL}.quantization", reason)
    if model.compile != "none":
        faults.add(f"{_MODEL}.compile", "not supported with preferences")
    if model.activation_offloading:
        faults.add(f"{_MODEL}.activation_offloading", "not supported with preferences")
    if data.packing:
        reason = "not supported with preferences: TRL's trainers pad the rows of a micro-batch"
        faults.add(f"{_DATA}.packing", reason)
    _check_columns(method, data, faults)
    if method == "kto":
        _check_kto(preference, training, faults)
    if method == "grpo":
        if data.too_long == "cut":
            reason = (
                "a prompt's end is what asks for an answer: say drop, or lower max_input_tokens"
            )
            faults.add(f"{_DATA}.too_long", reason)
        _check_groups(preference, training, slots, faults)
        if preference.options.get("beta") and tuning.method == "full":
            _check_reference(model, faults)


def _check_output_layer(tuning: TuningArguments, faults: Faults) -> None:
    """TRL reads the output layer's weight past whatever stands around it."""
    named = {"target_modules": tuning.target_modules, "modules_to_save": tuning.modules_to_save}
    for key, names in named.items():
        layers = named_targets(names or [])
        layers = [layers] if isinstance(layers, str) else layers
        if any(name.rsplit(".", 1)[-1] == "lm_head" for name in layers):
            reason = "lm_head cannot be adapted here: its weight alone is used, and not the adapter"
            faults.add(f"{_TUNED}.{key}", reason)


def _check_columns(method: str, data: DataArguments, faults: Faults) -> None:
    forms = _COLUMNS.get(method, (PAIR,))
    for number, source in enumerate(data.sources):
        roles = set(source.columns)
        if roles and not any(roles <= set(form) for form in forms):
            expected = " or ".join(", ".join(form) for form in forms)
            faults.add(f"{_DATA}.sources[{number}].columns", f"method {method} needs {expected}")


def _check_kto(
    preference: PreferenceArguments, training: Mapping[str, Any], faults: Faults
) -> None:
    if preference.options.get("precompute_ref_log_probs"):
        reason = "not with kto, whose pairs are made of each micro-batch"
        faults.add(f"{SECTION}.precompute_ref_log_probs", reason)
    if preference.options.get("loss_type", "kto") == "kto":
        for key in ("per_device_train_batch_size", "per_device_eval_batch_size"):
            if training.get(key) == 1:
                reason = "kto compares the rows of a micro-batch with one another: needs 2 or more"
                faults.add(f"{_TRAINING}.{key}", reason)


def _check_groups(
    preference: PreferenceArguments, training: Mapping[str, Any], slots: int, faults: Faults
) -> None:
    """Answers to one prompt must all be in one batch of generation."""
    options = preference.options
    group = options.get("num_generations", 8)
    micro = training.get("per_device_train_batch_size")
    steps = options.get("steps_per_generation") or training.get("gradient_accumulation_steps")
    batch = options.get("generation_batch_size")
    counted = "generation_batch_size"
    if isinstance(micro, int) and isinstance(steps, int):
        if batch is not None and options.get("steps_per_generation") is not None:
            reason = "give either this or steps_per_generation"
            faults.add(f"{SECTION}.generation_batch_size", reason)
            return
        if isinstance(batch, int) and batch % (micro * slots):
            reason = f"{batch} is no multiple of {micro} x {slots} slots"
            faults.add(f"{SECTION}.generation_batch_size", reason)
            return
        if batch is None:
            own = options.get("steps_per_generation") is not None
            times = "steps_per_generation" if own else "gradient_accumulation_steps"
            counted = f"per_device_train_batch_size x slots x {times}"
            batch = micro * slots * steps
    if isinstance(group, int) and group < 2:
        faults.add(f"{SECTION}.num_generations", "needs 2 or more: answers are compared")
    elif isinstance(group, int) and isinstance(batch, int) and batch % group:
        faults.add(
            f"{SECTION}.num_generations",
            f"{batch} answers are generated at once ({counted}), which is no multiple of {group}",
        )
    held, each = (
        options.get("num_generations_eval") or group,
        training.get("per_device_eval_batch_size"),
    )
    evaluates = training.get("eval_strategy") != "no"
    if evaluates and isinstance(held, int) and isinstance(each, int) and each * slots % held:
        faults.add(
            f"{_TRAINING}.per_device_eval_batch_size",
            f"{each} x {slots} slots is no multiple of {held} answers to each prompt "
            "(num_generations_eval, or num_generations)",
        )


def _check_reference(model: ModelArguments, faults: Faults) -> None:
    """TRL reads the reference itself, from what the model was read from."""
    plain = ModelArguments()
    for key in ("config_name_or_path", "tokenizer_name", "model_revision", "trust_remote_code"):
        if getattr(model, key) != getattr(plain, key):
            reason = "not with grpo, beta and full tuning: the reference would be another model"
            faults.add(f"{_MODEL}.{key}", reason)
