"""What the sections of the hyperparameters demand of one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from det_files.data.arguments import BLOCKS, PREFERENCE_ROLES, DataArguments
from det_files.data.arguments import SECTION as DATA
from det_files.deepspeed_config import zero_stage
from det_files.faults import Faults
from det_files.models import (
    PREFERENCE,
    SEQ2SEQ,
    ModelArguments,
    gguf_conversion_command,
)
from det_files.preference.arguments import PreferenceArguments
from det_files.tuning.arguments import TuningArguments

MODEL = "hyperparameters.model_arguments"
TUNING = "hyperparameters.tuning_arguments"
TRAINING = "hyperparameters.training_arguments"
# torchao's optimizers, which alone round stochastically.
LOW_BIT = ("adamw_torch_8bit", "adamw_torch_4bit")
# dpo's losses that are not means over pairs: they sort rows, or average over tokens.
_OF_MICRO_BATCH = ("aot", "aot_unpaired", "sft")


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
    if model.quantization == "nf4":
        _check_quantization(model, tuning, stage, faults)
    if tuning.weight_update == "stochastic":
        _check_stochastic(model, training, deepspeed, faults)
    if tuning.method == "prefix" and training.get("activation_checkpointing"):
        reason = "has no effect with method: prefix, whose keys and values it would not keep"
        faults.add(f"{TRAINING}.activation_checkpointing", reason)


def check_kind(kind: str, data: DataArguments, faults: Faults) -> None:
    """Notes what the data arguments ask for and an entrypoint of this kind has not."""
    if kind == SEQ2SEQ and data.packing == BLOCKS:
        reason = "an encoder-decoder's rows are pairs, which no block holds: leave it out"
        faults.add(f"{DATA}.packing", reason)
    for name in ("source_language", "target_language") if kind != SEQ2SEQ else ():
        if getattr(data, name) is not None:
            faults.add(f"{DATA}.{name}", "has no effect but with det_files.run_seq2seq")
    for number, source in enumerate(data.sources if kind != PREFERENCE else ()):
        for role in sorted(set(source.columns) & set(PREFERENCE_ROLES)):
            where = f"{DATA}.sources[{number}].columns.{role}"
            faults.add(where, "belongs to det_files.run_preference")


def check_oom_backoff(
    training: Mapping[str, Any],
    deepspeed: Mapping[str, Any] | None,
    preference: PreferenceArguments | None,
    faults: Faults,
    warnings: list[str],
) -> None:
    """Notes where a smaller micro-batch would be another training, or cannot be had."""
    if training.get("oom_backoff") is not True:
        return
    where = f"{TRAINING}.oom_backoff"
    if training.get("auto_find_batch_size"):
        reason = "changes the global batch, which oom_backoff keeps: give only one of them"
        faults.add(f"{TRAINING}.auto_find_batch_size", reason)
    autotuning = (deepspeed or {}).get("autotuning")
    if isinstance(autotuning, Mapping) and autotuning.get("enabled"):
        faults.add(where, "not with autotuning, which is to find out what does not fit")
    if preference is not None and (reason := _not_split(preference)):
        faults.add(where, f"not with {reason}")
    sizes = (training.get(f"per_device_{use}_batch_size") for use in ("train", "eval"))
    one_row = [size == 1 for size in sizes]
    if one_row[0]:
        # Not a fault: a search over batch sizes may draw 1.
        rest = "; only evaluation can back off" if not one_row[1] and preference is None else ""
        warnings.append(f"{where}: per_device_train_batch_size is 1 already{rest}")


def _not_split(preference: PreferenceArguments) -> str:
    """Why a method's training is another one with smaller micro-batches; empty where it is not."""
    if preference.method == "kto":
        return "kto, which compares the rows of a micro-batch with one another"
    if preference.method == "orpo":
        return "orpo, whose loss is in part a mean over the tokens of a micro-batch"
    if preference.method == "grpo":
        return "grpo: answers are generated for all micro-batches of a step at once"
    given = preference.options.get("loss_type") or []
    kinds = [given] if isinstance(given, str) else given
    found = [kind for kind in kinds if kind in _OF_MICRO_BATCH]
    return f"loss_type {found[0]}, which is made of a whole micro-batch" if found else ""


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


def _check_quantization(
    model: ModelArguments, tuning: TuningArguments, stage: int, faults: Faults
) -> None:
    where = f"{MODEL}.quantization"
    if tuning.method == "full":
        reason = "weights in 4 bits cannot be trained: use tuning_arguments.method: lora or dora"
        faults.add(where, f"nf4 and full tuning: {reason}")
    if stage == 3:
        faults.add(
            where,
            "nf4 and ZeRO stage 3, which cannot partition packed weights: use stage 2, each GPU "
            "then holds the model in a quarter of bfloat16's memory; or leave quantization out",
        )
    if isinstance(model.gguf_file, str):
        faults.add(
            where,
            "nf4 is made of a model's own weights, not of a GGUF file's: name that model, or "
            f"convert the file once: {gguf_conversion_command(model)}",
        )
    if model.config_name_or_path is not None:
        faults.add(where, "nf4 needs weights to load, and config_name_or_path draws random ones")


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
