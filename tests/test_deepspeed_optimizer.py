"""Optimizer and scheduler sections: what they say differently, and what they leave unread."""

from __future__ import annotations

from typing import Any

import pytest

from det_files.deepspeed_optimizer import check_optimizer, check_scheduler
from det_files.faults import Faults

P = "hyperparameters.deepspeed_config"


def faults_of(config: dict[str, Any], training: dict[str, Any]) -> list[str]:
    faults = Faults()
    check_optimizer(config, training, faults)
    check_scheduler(config, training, faults)
    return [str(fault).removeprefix(f"{P}.") for fault in faults.found]


def optimizer(**params: Any) -> dict[str, Any]:
    return {"optimizer": {"type": "AdamW", "params": params}}


def scheduler(**params: Any) -> dict[str, Any]:
    return {"scheduler": {"type": "WarmupDecayLR", "params": params}}


def test_an_optimizer_that_disagrees_with_the_training_arguments() -> None:
    config = optimizer(lr=1e-3, weight_decay="auto", betas=[0.9, 0.95], eps=1e-8)
    assert faults_of(config, {"learning_rate": 1e-5}) == [
        "optimizer.params.lr: 0.001 disagrees with training_arguments.learning_rate 1e-05; "
        'write "auto"',
        "optimizer.params.betas: [0.9, 0.95] disagrees with training_arguments.adam_beta1 and "
        'adam_beta2 [0.9, 0.999]; write "auto"',
    ]
    assert faults_of(config, {"learning_rate": 1e-3, "adam_beta2": 0.95}) == []


@pytest.mark.parametrize(
    ("params", "training", "fault"),
    [
        ({"warmup_max_lr": 1e-3}, {"learning_rate": 1e-5}, "warmup_max_lr: 0.001 disagrees with "
         "training_arguments.learning_rate 1e-05"),
        ({"warmup_num_steps": 3}, {"warmup_steps": 2}, "warmup_num_steps: 3 disagrees with "
         "training_arguments.warmup_steps, which makes 2"),
        ({"warmup_num_steps": 3}, {"warmup_steps": 0.25, "max_steps": 10}, ""),
        ({"warmup_num_steps": 2}, {"warmup_steps": 0.25, "max_steps": 10}, "warmup_num_steps: 2 "
         "disagrees with training_arguments.warmup_steps, which makes 3"),
        ({"warmup_num_steps": 2}, {"warmup_steps": 0.25}, ""),  # known when the data is
        ({"warmup_num_steps": 1}, {}, ""),
        ({"total_num_steps": 9}, {"max_steps": 10}, "total_num_steps: 9 disagrees with "
         "training_arguments.max_steps 10"),
        ({"total_num_steps": 9}, {}, ""),
        ({"total_num_steps": "auto"}, {"max_steps": 10, "warmup_steps": "x"}, ""),
    ],
)  # fmt: skip
def test_a_scheduler_that_disagrees(
    params: dict[str, Any], training: dict[str, Any], fault: str
) -> None:
    wanted = [f'scheduler.params.{fault}; write "auto"'] if fault else []
    assert faults_of(scheduler(**params), training) == wanted


def test_arguments_that_would_not_be_read() -> None:
    training = {"optim": "adamw_torch_8bit", "lr_scheduler_type": "cosine"}
    assert faults_of(optimizer(lr="auto") | scheduler(), training) == [
        "optimizer: is what DeepSpeed uses, and training_arguments.optim adamw_torch_8bit would "
        "have no effect; leave one of them out",
        "scheduler: is what DeepSpeed uses, and training_arguments.lr_scheduler_type cosine would "
        "have no effect; leave one of them out",
    ]
    assert faults_of(optimizer(lr="auto"), {"optim": "adamw_torch_fused"}) == []


def test_an_optimizer_that_offloading_would_replace() -> None:
    offloaded = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}
    assert faults_of(offloaded, {}) == faults_of(offloaded, {"optim": "adamw_torch"}) == []
    assert faults_of(offloaded, {"optim": "adamw_bnb_8bit"}) == [
        "hyperparameters.training_arguments.optim: adamw_bnb_8bit would be replaced by DeepSpeed's "
        "Adam in float32, as the optimizer is offloaded (zero_optimization.offload_optimizer); "
        "leave it out"
    ]
    unforced = offloaded | {"zero_force_ds_cpu_optimizer": False}
    assert faults_of(unforced, {"optim": "adamw_bnb_8bit"}) == []


@pytest.mark.parametrize("config", [{}, {"optimizer": 3, "scheduler": []}])
def test_without_the_sections_every_argument_is_read(config: dict[str, Any]) -> None:
    assert faults_of(config, {"optim": "adafactor", "lr_scheduler_type": "cosine"}) == []


def test_what_a_section_does_not_say_is_deepspeeds_own() -> None:
    (fault,) = faults_of({"optimizer": {"type": "Adam"}}, {"learning_rate": 1.0})
    assert "optimizer.params.lr: 0.001 disagrees with training_arguments.learning_rate" in fault
