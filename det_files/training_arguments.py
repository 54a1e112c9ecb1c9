"""transformers' TrainingArguments: our defaults, one source of precision, and their making."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault, Faults
from det_files.schema import check_mapping
from det_files.training_fields import training_fields

if TYPE_CHECKING:
    from transformers import TrainingArguments

SECTION = "hyperparameters.training_arguments"
# What a file need not say. transformers' own defaults hold for everything else.
DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_grad_norm": 1.0,
    "logging_steps": 1,  # every step: the loss curve is the evidence, and a row costs little
    "save_total_limit": 2,
    "seed": 42,
    "report_to": "none",  # metrics go through DetCallback
    "disable_tqdm": True,
    "remove_unused_columns": False,
    "include_for_metrics": [],
}
_BY_DTYPE = {"float32": (False, False), "bfloat16": (True, False), "float16": (False, True)}


def read_training_arguments(
    path: str, mapping: Mapping[str, Any], faults: Faults
) -> dict[str, Any]:
    """The checked values that were given; defaults come later, when the rest is known."""
    return check_mapping(path, mapping, training_fields(), faults)


def with_defaults(given: Mapping[str, Any], dtype: str, faults: Faults) -> dict[str, Any]:
    """A new mapping: what was given, our defaults, and the precision that `dtype` says."""
    values = DEFAULTS | dict(given)
    if "eval_strategy" not in given:
        values["eval_strategy"] = "steps" if "eval_steps" in given else "epoch"
    if "save_strategy" not in given:
        # Where validations are, checkpoints are too: the best one can then be found.
        values["save_strategy"] = "steps" if "save_steps" in given else values["eval_strategy"]
    if values["save_strategy"] == "steps" and "save_steps" not in given:
        values["save_steps"] = values.get("eval_steps", 500)
    if values["eval_strategy"] == "steps" and "eval_steps" not in given:
        values["eval_steps"] = values.get("save_steps", 500)
    values.setdefault("per_device_eval_batch_size", values["per_device_train_batch_size"])
    _set_precision(values, given, dtype, faults)
    return values


def _set_precision(
    values: dict[str, Any], given: Mapping[str, Any], dtype: str, faults: Faults
) -> None:
    for key, wanted in zip(("bf16", "fp16"), _BY_DTYPE.get(dtype, (False, False)), strict=True):
        if key in given and given[key] != wanted:
            faults.add(
                f"{SECTION}.{key}",
                f"{str(given[key]).lower()} disagrees with model_arguments.dtype {dtype}, "
                "the single source of precision; leave it out",
            )
        values[key] = wanted


def check_training_arguments(values: Mapping[str, Any], faults: Faults) -> None:
    """Notes what TrainingArguments itself would refuse, or run for nothing."""
    if values.get("max_steps", -1) == 0:
        faults.add(f"{SECTION}.max_steps", "expected > 0, or leave it out and set num_train_epochs")
    if values.get("load_best_model_at_end"):
        if values["eval_strategy"] != values["save_strategy"]:
            faults.add(
                f"{SECTION}.load_best_model_at_end",
                f"needs equal strategies, got eval_strategy {values['eval_strategy']} and "
                f"save_strategy {values['save_strategy']}",
            )
        elif values["eval_strategy"] == "steps" and values["save_steps"] % values["eval_steps"]:
            faults.add(
                f"{SECTION}.save_steps",
                f"load_best_model_at_end needs a multiple of eval_steps {values['eval_steps']}, "
                f"got {values['save_steps']}",
            )
    if values.get("fsdp"):
        faults.add(f"{SECTION}.fsdp", "not supported here: use deepspeed_config, stage 3")


def make_training_arguments(
    values: Mapping[str, Any], deepspeed: Mapping[str, Any] | None, output_dir: Path, on_cpu: bool
) -> TrainingArguments:
    """The TrainingArguments object; with DeepSpeed it also prepares partitioned loading.

    Raises:
        ConfigError: transformers refuses the combination, in its own words.
    """
    from transformers import TrainingArguments

    options = {k: v for k, v in values.items() if k not in ("output_dir", "deepspeed")}
    if on_cpu:
        options |= {"use_cpu": True, "dataloader_pin_memory": False}
    try:
        return TrainingArguments(
            output_dir=str(output_dir),
            deepspeed=dict(deepspeed) if deepspeed is not None else None,
            **options,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(Fault(SECTION, str(error).strip())) from error
