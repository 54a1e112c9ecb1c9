"""Stochastically rounded updates: what a rounded-to-nearest one loses, the same on all ranks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import RunTrial, RunTrials
from det_files.rounding import SameRounding

STOCHASTIC = {
    "model_arguments__dtype": "bfloat16",
    "tuning_arguments": {"method": "full", "weight_update": "stochastic"},
    "training_arguments__optim": "adamw_torch_8bit",
}


def draw(step: int, seed: int = 1) -> torch.Tensor:
    callback, state = SameRounding(), SimpleNamespace(global_step=step)
    callback.on_pre_optimizer_step(SimpleNamespace(seed=seed), state, None)
    drawn = torch.rand(3)
    callback.on_optimizer_step(None, state, None)
    return drawn


def test_roundings_depend_on_seed_and_step_alone_and_disturb_nothing() -> None:
    torch.manual_seed(5)
    undisturbed = torch.rand(2)
    torch.manual_seed(5)
    first = draw(3)
    assert torch.equal(torch.rand(2), undisturbed)
    assert torch.equal(draw(3), first)
    assert not torch.equal(draw(4), first)
    assert not torch.equal(draw(3, seed=2), first)


def test_updates_below_the_last_digit_are_kept_on_average() -> None:
    torchao = pytest.importorskip("torchao.optim", reason="pip install torchao==0.18.0")
    means = {}
    for rounded in (False, True):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        optimizer = torchao.AdamW8bit(
            [weight], lr=1e-4, weight_decay=0.0, bf16_stochastic_round=rounded
        )
        for _ in range(20):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
        means[rounded] = weight.float().mean().item()
    # Below 1 a bfloat16 step is 2^-8: to the nearest, 20 updates of 1e-4 never happen.
    assert means[False] == 1.0
    assert means[True] == pytest.approx(1 - 20e-4, abs=2e-4)


def test_trials_learn_repeat_exactly_and_agree_between_ranks(
    tmp_path: Path, run_trial: RunTrial, run_trials: RunTrials
) -> None:
    pytest.importorskip("torchao", reason="pip install torchao==0.18.0")
    whole = run_trial(tmp_path / "whole", **STOCHASTIC)
    assert whole.code == 0, whole.output
    assert '"trained": {"bfloat16":' in whole.output
    assert whole.losses()[-1] < whole.losses()[0] * 0.99
    again = run_trial(tmp_path / "again", **STOCHASTIC)
    assert again.losses() == whole.losses()
    (tmp_path / "two").mkdir()
    two = run_trials(tmp_path / "two", 2, {"two": STOCHASTIC})["two"]
    # bfloat16 gradients are summed in another order: close, not equal.
    assert two.losses() == pytest.approx(whole.losses(), rel=0.02)
