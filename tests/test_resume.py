"""Invariant: a run stopped or killed at any step and continued has the losses of a whole one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import RunTrial, Trial

STEPS = 8
OPTIONS: dict[str, Any] = {
    "training_arguments__max_steps": STEPS,
    "training_arguments__save_steps": 3,
    "training_arguments__eval_steps": 4,
    "training_arguments__per_device_train_batch_size": 8,  # 16 of 40 rows a step: two an epoch
}
CASES: dict[str, dict[str, Any]] = {
    "ddp, packed": {"data_arguments__packing": True},
    "stage 2, lora": {
        "deepspeed_config": "ds_configs/ds_config_stage_2.json",
        "tuning_arguments": {"method": "lora", "lora_dropout": 0.1},
    },
    "stage 2, dora, nf4": {
        "deepspeed_config": "ds_configs/ds_config_stage_2.json",
        "model_arguments__quantization": "nf4",
        "tuning_arguments": {"method": "dora", "lora_dropout": 0.1},
    },
    "stage 3": {"deepspeed_config": "ds_configs/ds_config_stage_3.json"},
    "stage 2, 8 bits of torchao": {
        "deepspeed_config": "ds_configs/ds_config_stage_2.json",
        "training_arguments__optim": "adamw_torch_8bit",
    },
    "stage 2, 8 bits of bitsandbytes": {
        "deepspeed_config": "ds_configs/ds_config_stage_2.json",
        "training_arguments__optim": "adamw_bnb_8bit",
    },
    "ddp, p_tuning": {"tuning_arguments": {"method": "p_tuning", "num_virtual_tokens": 4}},
    "ddp, stochastic lora": {
        "model_arguments__dtype": "bfloat16",
        "tuning_arguments": {"method": "lora", "weight_update": "stochastic"},
        "training_arguments__optim": "adamw_torch_8bit",
    },
    "stage 3, prompt": {
        "deepspeed_config": "ds_configs/ds_config_stage_3.json",
        "tuning_arguments": {"method": "prompt", "num_virtual_tokens": 4},
    },
}


def rows(trial: Trial, group: str, names: tuple[str, ...]) -> dict[int, list[float]]:
    return {
        row["steps_completed"]: [row["metrics"][name] for name in names]
        for row in trial.rows(group)
    }


@pytest.mark.parametrize("name", CASES)
def test_stop_and_resume_is_the_uninterrupted_run(
    name: str, run_trial: RunTrial, tmp_path: Path
) -> None:
    options = OPTIONS | CASES[name]
    whole = run_trial(tmp_path / "whole", 2, **options)
    assert whole.code == 0, whole.output
    # The stop file is there from the start: the trial stops at the first step boundary.
    parted = tmp_path / "parted"
    parted.mkdir()
    (parted / "stop").touch()
    first = run_trial(parted, 2, **options)
    assert first.code == 0, first.output
    assert (parted / "preempted").exists()
    assert [row["steps_completed"] for row in first.rows("training")] == [1]
    (parted / "stop").unlink()
    second = run_trial(parted, 2, **options)
    assert second.code == 0, second.output
    assert not (parted / "preempted").exists()
    for group, names in (("training", ("loss", "learning_rate")), ("validation", ("eval_loss",))):
        got, wanted = rows(second, group, names), rows(whole, group, names)
        assert got.keys() == wanted.keys()
        for step, values in wanted.items():
            assert got[step] == pytest.approx(values, rel=1e-6), f"{group} at step {step}"


@pytest.mark.parametrize("name", ["rows", "blocks of a mixture"])
def test_resume_in_the_middle_of_a_later_epoch(
    name: str, run_trial: RunTrial, tmp_path: Path, tiny_data: Path
) -> None:
    """As after a kill: only the checkpoint of step 3 is there, and an epoch has two steps."""
    mixture = [
        {"path": str(tiny_data), "name": n, "weight": w} for n, w in (("a", 0.7), ("b", 0.3))
    ]
    blocks = {
        "data_arguments__sources": mixture,
        "data_arguments__packing": "blocks",
        "data_arguments__block_size": 96,
        "training_arguments__per_device_train_batch_size": 4,
    }
    options = OPTIONS | CASES["stage 2, lora"] | {"training_arguments__save_total_limit": 9}
    options |= blocks if name == "blocks of a mixture" else {}
    whole = run_trial(tmp_path / "whole", 2, **options)
    assert whole.code == 0, whole.output
    killed = shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    for checkpoint in (killed / "checkpoints").iterdir():
        if json.loads((checkpoint / "metadata.json").read_text())["steps_completed"] != 3:
            shutil.rmtree(checkpoint)
    (killed / "metrics.jsonl").unlink()
    resumed = run_trial(killed, 2, **options)
    assert resumed.code == 0, resumed.output
    got, wanted = rows(resumed, "training", ("loss",)), rows(whole, "training", ("loss",))
    # Steps 1 to 3 are written again from the checkpoint's history, the others trained again.
    assert list(got) == list(range(1, STEPS + 1))
    for step, values in got.items():
        assert values == pytest.approx(wanted[step], rel=1e-6), f"step {step}"


def test_a_finished_trial_trains_no_further(run_trial: RunTrial, tmp_path: Path) -> None:
    """Restarted after its last checkpoint, which is in the middle of an epoch."""
    options = OPTIONS | {"training_arguments__max_steps": 3}
    first = run_trial(tmp_path, 1, **options)
    assert first.code == 0, first.output
    again = run_trial(tmp_path, 1, **options)
    assert again.code == 0, again.output
    assert [row["steps_completed"] for row in again.rows("training")] == [1, 2, 3]
