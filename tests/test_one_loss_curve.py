"""Invariant: one loss curve for every way of spreading the same work (float32, from disk)."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import RunTrials, Trial

TWICE = {
    "training_arguments__gradient_accumulation_steps": 2,
    "training_arguments__per_device_train_batch_size": 2,
}
ADAPTERS = {"tuning_arguments": {"method": "lora", "r": 4}}


def stage(name: str, **more: Any) -> dict[str, Any]:
    return {"deepspeed_config": f"ds_configs/ds_config_stage_{name}.json"} | more


# The global batch is 8 rows in all of them.
FULL = {
    "ddp": {},
    "ddp accumulated": TWICE,
    "stage 1": stage("1"),
    "stage 2": stage("2"),
    "stage 2 accumulated": stage("2", **TWICE),
    "stage 2 offloaded": stage("2_offload"),
    "stage 3": stage("3"),
    "stage 3 offloaded": stage("3_offload"),
}
LORA = {
    "lora ddp": ADAPTERS,
    "lora stage 2": stage("2", **ADAPTERS),
    "lora stage 3": stage("3", **ADAPTERS),
}


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials) -> dict[str, Trial]:
    """The curves of one process without DeepSpeed, which all others must agree with."""
    four = TWICE | {"training_arguments__gradient_accumulation_steps": 4}
    trials = {"full": {}, "lora": ADAPTERS, "accumulated": four}
    return run_trials(tmp_path_factory.mktemp("one"), 1, trials)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials) -> dict[str, Trial]:
    return run_trials(tmp_path_factory.mktemp("two"), 2, FULL | LORA)


def assert_same_curve(trial: Trial, reference: Trial) -> None:
    assert trial.code == 0, trial.output
    # A curve that does not move could not differ.
    assert reference.losses()[-1] < reference.losses()[0] * 0.99
    assert trial.losses() == pytest.approx(reference.losses(), rel=1e-5)
    mine, theirs = (t.rows("validation")[-1]["metrics"] for t in (trial, reference))
    for metric in ("eval_loss", "eval_perplexity", "eval_token_accuracy"):
        assert mine[metric] == pytest.approx(theirs[metric], rel=1e-5)


def test_accumulation_on_one_rank(one_rank: dict[str, Trial]) -> None:
    assert_same_curve(one_rank["accumulated"], one_rank["full"])


@pytest.mark.parametrize("name", FULL)
def test_full_tuning(name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]) -> None:
    assert_same_curve(two_ranks[name], one_rank["full"])


@pytest.mark.parametrize("name", LORA)
def test_lora(name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]) -> None:
    assert_same_curve(two_ranks[name], one_rank["lora"])
