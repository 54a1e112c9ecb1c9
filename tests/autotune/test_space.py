"""Candidates become hyperparameters whose DeepSpeed part and training arguments always agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from det_files.autotune.plan import _derive
from det_files.autotune.space import (
    _STAGE_SETTINGS,
    OFFLOADS,
    Axes,
    Candidate,
    Combination,
    overwritten,
)
from det_files.deepspeed_config import merge
from det_files.experiment import Experiment, load_experiment
from det_files.validate import check_experiment

ASKED = {"metric": "throughput", "steps": 4, "warmup_steps": 1}
AXES = Axes((0, 1, 2, 3), OFFLOADS, (False, True), (None, 10**7), (1, 2, 3, 4, 8))


def load(stage: int, name: str = "smollm2_135m_ds2") -> Experiment:
    file = f"hyperparameters.deepspeed_config=ds_configs/ds_config_stage_{stage}.json"
    for number, other in ((4, "stage_3_offload"), (5, "stage_3_nvme")):
        file = file.replace(f"stage_{number}", other)
    return load_experiment(ROOT / "experiments" / f"{name}.yaml", [file])


def test_senseless_combinations_are_left_out() -> None:
    found = {c.combination for c in AXES.candidates(1, None)}
    assert {c.stage for c in found if c.offload == "cpu+params"} == {3}
    assert {c.offload for c in found if c.stage == 0} == {"none"}
    assert len(found) == (1 + 2 + 2 + 3) * 2 * 2


def test_the_global_batch_is_kept_exactly() -> None:
    found = AXES.candidates(1, 12)
    assert {(c.micro_batch, c.accumulation) for c in found} == {(1, 12), (2, 6), (3, 4), (4, 3)}
    assert {c.accumulation for c in AXES.candidates(5, None)} == {5}


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
def test_every_candidate_of_every_file_is_valid_and_agrees(
    stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    experiment = load(stage)
    args = check_experiment(experiment)
    for candidate in AXES.candidates(2, None):
        derived = _derive(experiment, args, ASKED, candidate)
        found = check_experiment(derived)
        zero, own = found.deepspeed["zero_optimization"], candidate.combination
        assert zero["stage"] == own.stage
        devices = [
            (zero.get(f"offload_{what}") or {}).get("device", "none")
            for what in ("optimizer", "param")
        ]
        assert (
            devices
            == {
                "none": ["none", "none"],
                "cpu": ["cpu", "none"],
                "cpu+params": ["cpu", "cpu"],
            }[own.offload]
        )
        if own.bucket:
            assert zero["reduce_bucket_size"] == own.bucket
        elif own.stage != 3:
            assert zero.get("reduce_bucket_size", 1) != "auto"
        training = found.training
        assert training["per_device_train_batch_size"] == candidate.micro_batch
        assert training["gradient_accumulation_steps"] == candidate.accumulation
        assert training["activation_checkpointing"] is own.checkpointing
        assert (training["max_steps"], found.measuring.warmup_steps) == (5, 1)
        assert [training[f"{what}_strategy"] for what in ("eval", "save")] == ["no", "no"]
        assert found.model == args.model and found.tuning == args.tuning
        assert derived.max_restarts == 0


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_stage_from_another_file_is_as_in_its_own(stage: int) -> None:
    own = json.loads(Path(ROOT / f"ds_configs/ds_config_stage_{stage}.json").read_text())
    assert {"stage": stage} | _STAGE_SETTINGS[stage] == own["zero_optimization"]
    assert overwritten(Combination(stage), own) == {"zero_optimization": {"stage": stage}}
    other: dict[str, Any] = {"zero_optimization": {"stage": 5 - stage if stage > 1 else 3}}
    merged = merge(other, overwritten(Combination(stage), other))
    assert merged == {"zero_optimization": own["zero_optimization"]}


def test_what_a_file_states_of_the_batch_is_filled_anew() -> None:
    stated = {"train_micro_batch_size_per_gpu": 4, "zero_optimization": {"stage": 2}}
    assert overwritten(Combination(2), stated)["train_micro_batch_size_per_gpu"] == "auto"


def test_a_candidate_is_read_back() -> None:
    one = Candidate(Combination(3, "cpu+params", True, 10**7), 4, 2)
    assert Candidate.of_mapping(json.loads(json.dumps(one.to_mapping()))) == one
    assert str(one) == "stage 3, offload cpu+params, checkpointing, buckets 1e7, micro-batch 4 x 2"
