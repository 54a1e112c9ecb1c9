"""What the sections of the hyperparameters demand of one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from det_files.data.arguments import PREFERENCE_ROLES, DataArguments
from det_files.deepspeed_config import zero_stage
from det_files.faults import Faults
from det_files.models import ModelArguments, gguf_conversion_command
from det_files.tuning.arguments import TuningArguments

MODEL = "hyperparameters.model_arguments"
TUNING = "hyperparameters.tuning_arguments"
TRAINING = "hyperparameters.training_arguments"
# torchao's optimizers, which alone round stochastically.
LOW_BIT = ("adamw_torch_8bit", "adamw_torch_4bit")


def check_combinations(
    model: ModelArguments,
    tuning: TuningArguments,
    training: Mapping[str, Any],
    deepspeed: Mapping[str, Any] | None,
    faults: Faults,
) -> None:
    """Notes arguments that are right by themselves and wrong together."""
    stage = zero_stage(deepspeed)
    _check_source(model, tuning, stage, faults)
    _check_compilation(model, training, stage, faults)
    if tuning.weight_update == "stochastic":
        _check_stochastic(model, training, deepspeed, faults)
    if tuning.method == "prefix" and training.get("activation_checkpointing"):
        reason = "has no effect with method: prefix, whose keys and values it would not keep"
        faults.add(f"{TRAINING}.activation_checkpointing", reason)


def check_roles(data: DataArguments, faults: Faults) -> None:
    """Notes columns of preferences, which other entrypoints than theirs would not read."""
    for number, source in enumerate(data.sources):
        for role in sorted(set(source.columns) & set(PREFERENCE_ROLES)):
            where = f"hyperparameters.data_arguments.sources[{number}].columns.{role}"
            faults.add(where, "belongs to det_files.run_preference")


def _check_source(
    model: ModelArguments, tuning: TuningArguments, stage: int, faults: Faults
) -> None:
    named = [model.model_name_or_path, model.config_name_or_path]
    if named == [None, None]:
        faults.add(f"{MODEL}.model_name_or_path", "missing: name a model (or config_name_or_path)")
    elif None not in named:
        faults.add(f"{MODEL}.config_name_or_path", "give either this or model_name_or_path")
    if not isinstance(model.gguf_file, str):
        return
    for refused, what in ((stage == 3, "ZeRO stage 3"), (tuning.method == "full", "full tuning")):
        if refused:
            faults.add(
                f"{MODEL}.gguf_file",
                f"a GGUF file cannot be used with {what}; convert it once: "
                f"{gguf_conversion_command(model)}",
            )


def _check_compilation(
    model: ModelArguments, training: Mapping[str, Any], stage: int, faults: Faults
) -> None:
    if training.get("torch_compile"):
        reason = (
            "compiles the whole model anew for many shapes; use model_arguments.compile: layers"
        )
        faults.add(f"{TRAINING}.torch_compile", reason)
    if model.compile == "layers" and stage == 3:
        # DeepSpeed's hooks on each submodule cut the layer into dozens of graphs, whose guards on
        # partitioned shapes fail from layer to layer until torch gives up (recompile_limit).
        faults.add(
            f"{MODEL}.compile",
            "layers cannot be compiled under ZeRO stage 3, which changes the shapes of weights "
            "while they run; use stage 2 or compile: none",
        )


def _check_stochastic(
    model: ModelArguments,
    training: Mapping[str, Any],
    deepspeed: Mapping[str, Any] | None,
    faults: Faults,
) -> None:
    where = f"{TUNING}.weight_update"
    if deepspeed is not None:
        faults.add(where, "stochastic has no effect under DeepSpeed, which keeps float32 masters")
    if model.dtype != "bfloat16":
        faults.add(
            where, f"stochastic rounds to bfloat16, and model_arguments.dtype is {model.dtype}"
        )
    if training.get("optim") not in LOW_BIT:
        faults.add(where, f"stochastic needs training_arguments.optim of {' or '.join(LOW_BIT)}")


def with_weight_update(training: Mapping[str, Any], tuning: TuningArguments) -> dict[str, Any]:
    """A new mapping in which the optimizer rounds as the tuning arguments say."""
    if tuning.weight_update != "stochastic":
        return dict(training)
    given = training.get("optim_args")
    rounding = "bf16_stochastic_round=True"
    return dict(training) | {"optim_args": f"{given},{rounding}" if given else rounding}
