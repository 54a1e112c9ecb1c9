"""Checks of a DeepSpeed configuration: unknown keys, contradictions with training arguments."""

from pathlib import Path
from typing import Any

import pytest

from det_files.deepspeed_checks import check_autotuning, check_deepspeed_config
from det_files.deepspeed_config import (
    BatchSizes,
    complete,
    load_deepspeed_config,
)
from det_files.faults import Faults

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "ds_configs").glob("*.json"))
P = "hyperparameters.deepspeed_config"
STAGE_2 = {"zero_optimization": {"stage": 2}}
BATCH = BatchSizes(micro_batch=2, accumulation=4, slots=3)


def faults_of(config: dict[str, Any], dtype: str = "bfloat16", clip: float = 1.0) -> list[str]:
    faults = Faults()
    check_deepspeed_config(complete(config), BATCH, dtype, clip, faults)
    return [str(fault).removeprefix(f"{P}.") for fault in faults.found]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_our_own_files_fit_every_precision_and_batch(path: Path, dtype: str) -> None:
    assert faults_of(load_deepspeed_config(path), dtype, clip=0.3) == []


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("section", ["fp16", "bf16", "bfloat16"])
@pytest.mark.parametrize("enabled", [True, False, "auto"])
def test_precision_has_a_single_source(dtype: str, section: str, enabled: Any) -> None:
    wanted = dtype == {"fp16": "float16"}.get(section, "bfloat16")
    found = faults_of(STAGE_2 | {section: {"enabled": enabled}}, dtype)
    if enabled in ("auto", wanted):
        assert found == []
    else:
        assert found == [
            f"{section}.enabled: {str(enabled).lower()} disagrees with model_arguments.dtype "
            f'{dtype}, the single source of precision; write "auto"'
        ]


@pytest.mark.parametrize(
    ("key", "right", "wrong", "reason"),
    [
        ("train_micro_batch_size_per_gpu", 2, 1, "per_device_train_batch_size 2"),
        ("gradient_accumulation_steps", 4, 1, "gradient_accumulation_steps 4"),
        ("train_batch_size", 24, 8, "x slots = 2 x 4 x 3 = 24"),
        ("gradient_clipping", 1.0, 0.5, "training_arguments.max_grad_norm 1.0"),
    ],
)
def test_what_disagrees_with_the_arguments(key: str, right: Any, wrong: Any, reason: str) -> None:
    assert faults_of(STAGE_2 | {key: right}) == faults_of(STAGE_2 | {key: "auto"}) == []
    (fault,) = faults_of(STAGE_2 | {key: wrong})
    assert fault.startswith(f"{key}: {wrong} disagrees with ")
    assert fault.endswith(f'{reason}; write "auto"')


@pytest.mark.parametrize(
    ("section", "steps", "refused"),
    [
        ({"enabled": True}, 5, True),
        ({"enabled": True}, 6, False),
        ({"enabled": True, "end_profile_step": 9}, 9, True),
        ({"enabled": True, "end_profile_step": 9}, -1, False),  # some number of epochs
        ({"enabled": False, "end_profile_step": 9}, 1, False),
        ({"enabled": True, "model_info": {"profile": True}}, 1, False),
        ("x", 1, False),
        (None, 1, False),
    ],
)
def test_training_reaches_what_is_to_be_measured(section: Any, steps: int, refused: bool) -> None:
    faults = Faults()
    check_autotuning({"autotuning": section}, {"max_steps": steps}, faults)
    found = [str(fault) for fault in faults.found]
    reason = f"DeepSpeed measures in step {steps + 1}, and training_arguments.max_steps is {steps}"
    assert found == ([f"{P}.autotuning.end_profile_step: {reason}"] if refused else [])


NVME = {"device": "nvme", "nvme_path": "/nvme"}


@pytest.mark.parametrize(
    ("zero", "fault"),
    [
        ({"stage": 4}, "stage: expected 0, 1, 2 or 3, got 4"),
        ({"stage": True}, "stage: expected 0, 1, 2 or 3, got true"),
        ({}, "stage: expected 0, 1, 2 or 3, got null"),
        ({"stage": 2, "overlap_com": 1}, 'overlap_com: unknown key; did you mean "overlap_comm"?'),
        ({"stage": 2, "offload_param": {"device": "cpu"}}, "offload_param: needs stage 3, got "
         "stage 2"),
        ({"stage": 3, "offload_param": "cpu"}, "offload_param: expected a mapping with a device, "
         'got "cpu"'),
        ({"stage": 3, "offload_optimizer": {"device": "gpu"}}, "offload_optimizer.device: expected "
         'none, cpu or nvme, got "gpu"'),
        ({"stage": 3, "offload_param": {"device": "nvme"}}, "offload_param.nvme_path: missing: the "
         "directory of a local NVMe drive"),
        ({"stage": 2, "offload_optimizer": NVME}, "offload_optimizer.device: nvme needs stage 3, "
         "got stage 2"),
    ],
)  # fmt: skip
def test_faults_of_zero(zero: dict[str, Any], fault: str) -> None:
    assert faults_of({"zero_optimization": zero}) == [f"zero_optimization.{fault}"]


def test_other_faults_are_all_found() -> None:
    assert faults_of({"zero_optimizaton": {}, "fp16": True, "zero_optimization": 3}) == [
        'zero_optimizaton: unknown key; did you mean "zero_optimization"?',
        "zero_optimization: missing: expected a mapping with a stage",
        "fp16: expected a mapping, got true",
    ]
