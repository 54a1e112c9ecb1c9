"""transformers' TrainingArguments: our defaults, one source of precision, and their making."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault, Faults
from det_files.models import CAUSAL, SEQ2SEQ
from det_files.quantization import REQUIREMENT as BITSANDBYTES
from det_files.schema import check_mapping
from det_files.training_fields import GENERATING, OWN, training_fields

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
    # Every trained parameter is used in every step: DDP need not search for others.
    "ddp_find_unused_parameters": False,
    # Kernels of Liger where use_liger_kernel asks for them; the loss is exact and chunked already.
    "liger_kernel_config": {"fused_linear_cross_entropy": False, "cross_entropy": False},
    "include_for_metrics": [],
    "oom_backoff": False,
}
# Values that would be ignored, or break what every run promises.
_REFUSED: dict[str, tuple[Any, str]] = {
    "batch_eval_metrics": (True, "not supported: validations keep sums, never logits"),
    "average_tokens_across_devices": (False, "the loss would depend on the number of ranks"),
    "save_only_model": (True, "a stopped or restarted trial could not go on from its checkpoint"),
    "ignore_data_skip": (True, "a resumed trial would see other rows than an uninterrupted one"),
}
# What torch's optimizers and schedules refuse only once training begins: (least, below).
_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0, math.inf),
    "adam_beta1": (0, 1),
    "adam_beta2": (0, 1),
    "adam_epsilon": (0, math.inf),
    "weight_decay": (0, math.inf),
    "warmup_steps": (0, math.inf),
}
_BY_DTYPE = {"float32": (False, False), "bfloat16": (True, False), "float16": (False, True)}


def read_training_arguments(
    path: str, mapping: Mapping[str, Any], faults: Faults, kind: str = CAUSAL
) -> dict[str, Any]:
    """The checked values that were given; defaults come later, when the rest is known."""
    if kind != SEQ2SEQ:
        for key in set(GENERATING) & set(mapping):
            reason = "is of encoder-decoder models: det_files.run_seq2seq has it"
            faults.add(f"{path}.{key}", reason)
        mapping = {key: value for key, value in mapping.items() if key not in GENERATING}
    return check_mapping(path, mapping, training_fields(kind), faults)


def with_defaults(given: Mapping[str, Any], dtype: str, faults: Faults) -> dict[str, Any]:
    """A new mapping: what was given, our defaults, and the precision that `dtype` says."""
    values = DEFAULTS | dict(given)
    eval_steps, save_steps = given.get("eval_steps"), given.get("save_steps")
    if "eval_strategy" not in given:
        values["eval_strategy"] = "steps" if eval_steps is not None else "epoch"
    if "save_strategy" not in given:
        # Where validations are, checkpoints are too: the best one can then be found.
        # Without validations there is still something to keep.
        evaluated = values["eval_strategy"] if values["eval_strategy"] != "no" else "epoch"
        values["save_strategy"] = "steps" if save_steps is not None else evaluated
    if values["save_strategy"] == "steps" and save_steps is None:
        values["save_steps"] = 500 if eval_steps is None else eval_steps
    if values["eval_strategy"] == "steps" and eval_steps is None:
        values["eval_steps"] = 500 if save_steps is None else save_steps
    values.setdefault("per_device_eval_batch_size", values["per_device_train_batch_size"])
    _set_precision(values, given, dtype, faults)
    return values


def precision_flags(dtype: str) -> dict[str, bool]:
    """The values of bf16 and fp16 that a dtype means."""
    return dict(zip(("bf16", "fp16"), _BY_DTYPE[dtype], strict=True))


def _set_precision(
    values: dict[str, Any], given: Mapping[str, Any], dtype: str, faults: Faults
) -> None:
    if not isinstance(dtype, str) or dtype not in _BY_DTYPE:
        return  # noted already
    for key, wanted in precision_flags(dtype).items():
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
    if values["save_strategy"] == "best":
        if not (values.get("load_best_model_at_end") or values.get("metric_for_best_model")):
            faults.add(f"{SECTION}.metric_for_best_model", "missing; save_strategy best needs it")
    elif values.get("load_best_model_at_end"):
        if values["eval_strategy"] != values["save_strategy"]:
            faults.add(
                f"{SECTION}.load_best_model_at_end",
                f"needs equal strategies, got eval_strategy {values['eval_strategy']} and "
                f"save_strategy {values['save_strategy']}",
            )
        elif values["eval_strategy"] == "steps" and not _is_multiple(
            values["save_steps"], values["eval_steps"]
        ):
            faults.add(
                f"{SECTION}.save_steps",
                f"load_best_model_at_end needs a multiple of eval_steps {values['eval_steps']}, "
                f"got {values['save_steps']}",
            )
    _check_generation(values, faults)
    if values.get("hub_token"):
        faults.add(
            f"{SECTION}.hub_token",
            "a secret does not belong in an experiment, which is stored in many places: set "
            "HF_TOKEN in the trial's environment",
        )
    for key, (refused, reason) in _REFUSED.items():
        if key in values and values[key] == refused:
            faults.add(f"{SECTION}.{key}", reason)
    for key, (least, below) in _RANGES.items():
        value = values.get(key, least)
        if isinstance(value, int | float) and not least <= value < below:
            bound = "" if below == math.inf else f" and < {below:g}"
            faults.add(f"{SECTION}.{key}", f"expected >= {least:g}{bound}, got {value}")
    if values.get("label_smoothing_factor"):
        reason = "not supported: the loss is the cross-entropy of the labels"
        faults.add(f"{SECTION}.label_smoothing_factor", reason)
    if values.get("train_sampling_strategy", "random") != "random":
        reason = "not supported: the order is the mixture's, the same for every number of ranks"
        faults.add(f"{SECTION}.train_sampling_strategy", reason)
    if values.get("fsdp"):
        faults.add(f"{SECTION}.fsdp", "not supported here: use deepspeed_config, stage 3")


def _check_generation(values: Mapping[str, Any], faults: Faults) -> None:
    """Notes arguments of generation within evaluations that nothing would come of."""
    first, *others = GENERATING
    if not values.get(first):
        for key in others:
            if values.get(key) is not None:
                faults.add(f"{SECTION}.{key}", f"has no effect without {first}: true")
    elif values["eval_strategy"] == "no":
        faults.add(f"{SECTION}.{first}", 'has no effect with eval_strategy "no"')


def _is_multiple(number: Any, of: Any) -> bool:
    """False only for numbers: wrong types are noted where they are read."""
    if not all(isinstance(value, int | float) for value in (number, of)) or of <= 0:
        return True
    # Below 1 they are shares of all steps, which binary fractions hold inexactly.
    return (number < 1) == (of < 1) and math.isclose(number / of, round(number / of), rel_tol=1e-9)


def why_not_writable(directory: Path) -> str:
    """Why files cannot be made in a directory that may not exist yet; empty where they can."""
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        return f"{existing} is no directory"
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"{existing} is not writable"


def make_training_arguments(
    values: Mapping[str, Any],
    deepspeed: Mapping[str, Any] | None,
    output_dir: Path,
    on_cpu: bool,
    kind: str = CAUSAL,
    configuration: type[TrainingArguments] | None = None,
    section: str = SECTION,
) -> TrainingArguments:
    """The TrainingArguments object; with DeepSpeed it also prepares partitioned loading.

    `configuration` is a class of them with fields of its own (default: what `kind` needs), and
    `section` the place of what it refuses.

    Raises:
        ConfigError: transformers refuses the combination, in its own words.
    """
    import transformers

    arguments_class = configuration or (
        transformers.Seq2SeqTrainingArguments if kind == SEQ2SEQ else transformers.TrainingArguments
    )
    options = {k: v for k, v in values.items() if k not in ("output_dir", "deepspeed", *OWN)}
    _check_packages(values, on_cpu)
    if on_cpu:
        options |= {"use_cpu": True, "dataloader_pin_memory": False}
    try:
        return arguments_class(
            output_dir=str(output_dir),
            deepspeed=dict(deepspeed) if deepspeed is not None else None,
            **options,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(Fault(section, str(error).strip())) from error


# Optional packages by the argument that needs them: (argument, part of its value, package, GPU).
_PACKAGES = (
    ("optim", "adamw_torch_8bit", "torchao==0.18.0", False),
    ("optim", "adamw_torch_4bit", "torchao==0.18.0", False),
    ("optim", "bnb", BITSANDBYTES, False),
    ("optim", "paged", BITSANDBYTES, False),
    ("use_liger_kernel", "True", "liger-kernel", True),
)


def _check_packages(values: Mapping[str, Any], on_cpu: bool) -> None:
    """Raises a ConfigError where a package is missing here, or runs on GPUs only."""
    from importlib.util import find_spec

    faults = Faults()
    for key, part, requirement, needs_gpu in _PACKAGES:
        if part not in str(values.get(key, "")):
            continue
        where, package = f"{SECTION}.{key}", requirement.split("==")[0]
        if needs_gpu and on_cpu:
            faults.add(where, f"{values[key]} runs on GPUs only ({package})")
        elif find_spec(package.replace("-", "_")) is None:
            faults.add(
                where, f"{values[key]} needs a package that is missing: pip install {requirement}"
            )
    faults.raise_if_any()
