"""Optimizers and schedules: every argument arrives, without DeepSpeed and under ZeRO 2.

What is looked at is what a trial has saved: its optimizer's groups, and its logged learning rates.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import ROOT, RunTrials, Trial
from det_files.trained.locating import find_checkpoint
from tiny import make_model

STEPS, WARMUP, RATE = 6, 2, 1e-2
ADAM = {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6, "weight_decay": 0.1}
SHARE = 0.25  # of 6 steps, rounded up: 2
STAGE_2 = {"deepspeed_config": "ds_configs/ds_config_stage_2.json"}
SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {"warmup_steps": WARMUP},
    # The old name: warmup_steps below 1 is a share.
    "cosine": {"warmup_ratio": SHARE, "lr_scheduler_type": "cosine"},
}
LOW_BIT = ("adamw_torch_8bit", "adamw_bnb_8bit")


def arguments(given: dict[str, Any]) -> dict[str, Any]:
    return {f"training_arguments__{name}": value for name, value in given.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2, which has biases."""
    return make_model(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture(scope="module")
def trials(
    tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials, model: Path
) -> dict[str, Trial]:
    directory = tmp_path_factory.mktemp("optimizers")
    auto = dict.fromkeys(("lr", "betas", "eps", "weight_decay"), "auto")
    section = {
        "type": "AdamW",
        "params": auto | {"torch_adam": True},
    }  # DeepSpeed's own is compiled
    own = json.loads((ROOT / STAGE_2["deepspeed_config"]).read_text()) | {"optimizer": section}
    (directory / "own.json").write_text(json.dumps(own))
    common = {"model_arguments__model_name_or_path": str(model)} | arguments(
        ADAM | {"max_steps": STEPS, "learning_rate": RATE}
    )
    runs = {name: arguments(schedule) for name, schedule in SCHEDULES.items()}
    runs |= {name: arguments({"optim": name, "warmup_steps": WARMUP}) for name in LOW_BIT}
    # ZeRO first: bitsandbytes keeps embeddings' states in 32 bits, and remembers which they were by
    # their number in the group, for as long as the process lives.
    runs = {f"{name}, stage 2": run | STAGE_2 for name, run in runs.items()} | runs
    runs["own"] = arguments(SCHEDULES["linear"]) | {"deepspeed_config": str(directory / "own.json")}
    offloaded = {"deepspeed_config": "ds_configs/ds_config_stage_2_offload.json"}
    runs["offloaded"] = arguments(SCHEDULES["linear"]) | offloaded
    found = run_trials(directory, 2, {name: common | run for name, run in runs.items()})
    assert all(trial.code == 0 for trial in found.values()), found["own"].output[-5000:]
    return found


def state(trial: Trial) -> dict[str, Any]:
    """The optimizer's state of the last checkpoint; under ZeRO that of the first rank's part."""
    checkpoint = find_checkpoint(trial.directory, None)
    parts = sorted(checkpoint.glob("global_step*/*_optim_states.pt"))
    if not parts:
        return torch.load(checkpoint / "optimizer.pt", weights_only=False)
    return torch.load(parts[0], weights_only=False)["optimizer_state_dict"]["base_optimizer_state"]


def names_of_groups(trial: Trial) -> list[set[str]]:
    """The parameters of each group, of which each rank has a part (under ZeRO)."""
    files = find_checkpoint(trial.directory, None).glob("global_step*/*_optim_states.pt")
    parts = [torch.load(file, weights_only=False)["optimizer_state_dict"] for file in files]
    groups = [part["param_slice_mappings"] for part in parts]
    return [set().union(*some) for some in zip(*groups, strict=True)]


def expected_rates(name: str) -> list[float]:
    """transformers' formulas: of step k, counted from 1, after k - 1 steps."""
    shares = []
    for step in range(STEPS):
        left = (STEPS - step) / (STEPS - WARMUP)
        falling = left if name != "cosine" else (1 + math.cos(math.pi * (1 - left))) / 2
        shares.append(step / WARMUP if step < WARMUP else falling)
    return [RATE * share for share in shares]


@pytest.mark.parametrize("suffix", ["", ", stage 2"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rates_follow_the_formula(
    trials: dict[str, Trial], name: str, suffix: str
) -> None:
    rows = trials[name + suffix].rows("training")
    rates = [row["metrics"]["learning_rate"] for row in rows]
    assert rates == pytest.approx(expected_rates(name), rel=1e-6)


@pytest.mark.parametrize("suffix", ["", ", stage 2"])
@pytest.mark.parametrize("name", [*SCHEDULES, *LOW_BIT])
def test_the_optimizer_has_every_value(trials: dict[str, Trial], name: str, suffix: str) -> None:
    groups = state(trials[name + suffix])["param_groups"]
    assert [group["weight_decay"] for group in groups] == [ADAM["weight_decay"], 0.0]
    for group in groups:
        assert tuple(group["betas"]) == (ADAM["adam_beta1"], ADAM["adam_beta2"])
        assert group["eps"] == ADAM["adam_epsilon"]


def test_offloaded_it_is_the_same_optimizer_on_the_host(trials: dict[str, Trial]) -> None:
    groups = state(trials["offloaded"])["param_groups"]
    assert [group["weight_decay"] for group in groups] == [ADAM["weight_decay"], 0.0]
    assert {tuple(group["betas"]) for group in groups} == {(0.8, 0.95)}
    assert {group["eps"] for group in groups} == {ADAM["adam_epsilon"]}
    assert trials["offloaded"].losses() == pytest.approx(trials["linear"].losses(), rel=1e-5)


def test_norms_and_biases_do_not_decay(trials: dict[str, Trial], model: Path) -> None:
    names = [name for name, _ in AutoModelForCausalLM.from_pretrained(model).named_parameters()]
    flat = {name for name in names if name.endswith("bias") or ".ln_" in name}
    assert len(flat) == 18 and len(names) == 28
    groups = state(trials["linear"])["param_groups"]
    assert [len(group["params"]) for group in groups] == [10, 18]
    assert names_of_groups(trials["linear, stage 2"]) == [set(names) - flat, flat]


def test_an_optimizer_of_deepspeeds_own_decays_them_too(trials: dict[str, Trial]) -> None:
    (group,) = state(trials["own"])["param_groups"]
    assert (group["weight_decay"], group["eps"]) == (ADAM["weight_decay"], ADAM["adam_epsilon"])
    assert tuple(group["betas"]) == (ADAM["adam_beta1"], ADAM["adam_beta2"])
    assert any(name.endswith("bias") for name in names_of_groups(trials["own"])[0])
    # The schedule is transformers' still; what is logged is the rate of the next step.
    rates = [row["metrics"]["learning_rate"] for row in trials["own"].rows("training")]
    assert rates == pytest.approx([*expected_rates("linear")[1:], 0.0])


@pytest.mark.parametrize("suffix", ["", ", stage 2"])
@pytest.mark.parametrize("name", LOW_BIT)
def test_8_bits_hold_the_state_and_learn_alike(
    trials: dict[str, Trial], name: str, suffix: str
) -> None:
    kinds = set()
    for entry in state(trials[name + suffix])["state"].values():
        values = entry.get("__bnb_optimizer_quant_state__", entry)
        kinds |= {
            str(value.dtype) if type(value) is torch.Tensor else type(value).__name__
            for value in values.values()
        }
    assert kinds & {"torch.uint8", "OptimState8bit"}
    wanted = trials["linear" + suffix].losses()
    assert trials[name + suffix].losses() == pytest.approx(wanted, rel=5e-3)
    assert wanted[-1] < wanted[0] * 0.95
