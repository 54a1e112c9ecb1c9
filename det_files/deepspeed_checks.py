"""Checks of a DeepSpeed configuration: its keys, and its agreement with the training arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from det_files.deepspeed_config import PATH, BatchSizes
from det_files.deepspeed_fields import TOP_LEVEL_KEYS, zero_fields
from det_files.faults import Faults
from det_files.schema import show


def check_deepspeed_config(
    config: Mapping[str, Any],
    batch: BatchSizes | None,
    dtype: str,
    max_grad_norm: float,
    faults: Faults,
) -> None:
    """Notes unknown keys, and every contradiction with the training arguments.

    `batch` is None where the training arguments' own batch sizes are faulty.
    """
    for key in config:
        if key not in TOP_LEVEL_KEYS:
            faults.unknown(PATH, key, TOP_LEVEL_KEYS)
    zero = config.get("zero_optimization")
    if not isinstance(zero, Mapping):
        faults.add(f"{PATH}.zero_optimization", "missing: expected a mapping with a stage")
    else:
        _check_zero(zero, faults)
    if batch is not None:
        _check_batch(config, batch, faults)
    _check_precision(config, dtype, faults)
    clipping = config.get("gradient_clipping", "auto")
    if clipping != "auto" and clipping != max_grad_norm:
        faults.add(
            f"{PATH}.gradient_clipping",
            f"{clipping} disagrees with training_arguments.max_grad_norm {max_grad_norm}; "
            'write "auto"',
        )


def check_autotuning(
    config: Mapping[str, Any], training: Mapping[str, Any], faults: Faults
) -> None:
    """Notes a measurement that training would end before; sections of other types are left alone.

    DeepSpeed measures, and ends the run, in the step after `end_profile_step` (default 5).
    """
    section = config.get("autotuning")
    if not isinstance(section, Mapping) or not section.get("enabled"):
        return
    if isinstance(info := section.get("model_info"), Mapping) and info.get("profile"):
        return  # over in the first step
    end, steps = section.get("end_profile_step", 5), training.get("max_steps", -1)
    if isinstance(end, int) and isinstance(steps, int) and 0 < steps <= end:
        faults.add(
            f"{PATH}.autotuning.end_profile_step",
            f"DeepSpeed measures in step {end + 1}, and training_arguments.max_steps is {steps}",
        )


def _check_zero(zero: Mapping[str, Any], faults: Faults) -> None:
    path = f"{PATH}.zero_optimization"
    known = zero_fields()
    for key in zero:
        if key not in known:
            faults.unknown(path, key, known)
    stage = zero.get("stage")
    if not isinstance(stage, int) or isinstance(stage, bool) or not 0 <= stage <= 3:
        faults.add(f"{path}.stage", f"expected 0, 1, 2 or 3, got {show(stage)}")
    for what in ("offload_optimizer", "offload_param"):
        section = zero.get(what) or {}
        if not isinstance(section, Mapping):
            faults.add(f"{path}.{what}", f"expected a mapping with a device, got {show(section)}")
            continue
        device = section.get("device", "none")
        if what == "offload_param" and device != "none" and stage != 3:
            faults.add(f"{path}.{what}", f"needs stage 3, got stage {show(stage)}")
        if device not in ("none", "cpu", "nvme"):
            faults.add(f"{path}.{what}.device", f"expected none, cpu or nvme, got {show(device)}")
        if device == "nvme" and not section.get("nvme_path"):
            faults.add(f"{path}.{what}.nvme_path", "missing: the directory of a local NVMe drive")
        if device == "nvme" and stage != 3:
            faults.add(f"{path}.{what}.device", f"nvme needs stage 3, got stage {show(stage)}")


def _check_batch(config: Mapping[str, Any], batch: BatchSizes, faults: Faults) -> None:
    expected = {
        "train_micro_batch_size_per_gpu": (batch.micro_batch, "per_device_train_batch_size"),
        "gradient_accumulation_steps": (batch.accumulation, "gradient_accumulation_steps"),
        "train_batch_size": (
            batch.global_batch,
            "per_device_train_batch_size x gradient_accumulation_steps x slots = "
            f"{batch.micro_batch} x {batch.accumulation} x {batch.slots} =",
        ),
    }
    for key, (wanted, source) in expected.items():
        value = config.get(key, "auto")
        if value not in ("auto", wanted):
            faults.add(
                f"{PATH}.{key}",
                f'{show(value)} disagrees with {source} {wanted}; write "auto"',
            )


def _check_precision(config: Mapping[str, Any], dtype: str, faults: Faults) -> None:
    if dtype not in ("float32", "float16", "bfloat16"):
        return  # noted already
    # "bfloat16" is DeepSpeed's older name of the same section.
    for section, wanted in (("fp16", "float16"), ("bf16", "bfloat16"), ("bfloat16", "bfloat16")):
        mapping = config.get(section, {})
        if not isinstance(mapping, Mapping):
            faults.add(f"{PATH}.{section}", f"expected a mapping, got {show(mapping)}")
            continue
        enabled = mapping.get("enabled", "auto")
        if enabled not in ("auto", dtype == wanted):
            faults.add(
                f"{PATH}.{section}.enabled",
                f"{show(enabled)} disagrees with model_arguments.dtype {dtype}, "
                'the single source of precision; write "auto"',
            )
