"""`model_arguments.dtype` is the precision of the parameters, for every stage and method."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from conftest import RunTrials, Trial
from det_files.parameters import describe_parameters

ADAPTERS = {"tuning_arguments": {"method": "lora", "r": 2}}
NF4 = ADAPTERS | {"model_arguments__quantization": "nf4"}
DTYPES = ("bfloat16", "float32")


def stage(name: str) -> dict[str, Any]:
    return {"deepspeed_config": f"ds_configs/ds_config_stage_{name}.json"}


# Layout → dtype of what is trained, where the model's dtype is bfloat16. Without DeepSpeed, trained
# weights are float32 (autocast computes in bfloat16); DeepSpeed keeps float32 masters of its own.
TRAINED = {
    "full no deepspeed": ({}, "float32"),
    "lora no deepspeed": (ADAPTERS, "float32"),
    "full stage 1": (stage("1"), "bfloat16"),
    "full stage 2": (stage("2"), "bfloat16"),
    "full stage 3": (stage("3"), "bfloat16"),
    "lora stage 1": (stage("1") | ADAPTERS, "bfloat16"),
    "lora stage 2": (stage("2") | ADAPTERS, "bfloat16"),
    "lora stage 3": (stage("3") | ADAPTERS, "bfloat16"),
    "lora nf4 no deepspeed": (NF4, "float32"),
    "lora nf4 stage 2": (stage("2") | NF4, "bfloat16"),
}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials) -> dict[str, Trial]:
    described = {
        f"{name} {dtype}": overrides
        | {"model_arguments__dtype": dtype, "training_arguments__max_steps": 1}
        for name, (overrides, _) in TRAINED.items()
        for dtype in DTYPES
    }
    return run_trials(tmp_path_factory.mktemp("dtypes"), 2, described)


def reported(trial: Trial) -> dict[str, dict[str, int]]:
    """The `parameters:` line of this trial, from the output that all of them share."""
    before = trial.output.split(f"trial {trial.directory.name} done")[0]
    return json.loads(before.rsplit("parameters: ", 1)[1].splitlines()[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TRAINED)
def test_parameters_have_the_dtype_that_was_said(
    name: str, dtype: str, trials: dict[str, Trial]
) -> None:
    trial = trials[f"{name} {dtype}"]
    assert f"trial {name} {dtype} done" in trial.output, trial.output[-5000:]
    trained = TRAINED[name][1] if dtype == "bfloat16" else "float32"
    found = reported(trial)
    assert set(found["trained"]) == {trained}
    assert set(found["frozen"]) == (
        ({dtype} if "lora" in name else set()) | ({"nf4"} if "nf4" in name else set())
    )


def test_weights_in_4_bits_are_counted_singly(trials: dict[str, Trial]) -> None:
    """Of the tiny Llama 18,432 weights are in its linear layers; a byte holds two."""
    plain, nf4 = (
        reported(trials[f"{name} no deepspeed float32"])["frozen"] for name in ("lora", "lora nf4")
    )
    assert nf4 == {"nf4": 18432, "float32": plain["float32"] - 18432}


def test_every_parameter_is_counted_once() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2).bfloat16())
    model[0].requires_grad_(False)
    assert describe_parameters(model) == {"trained": {"bfloat16": 10}, "frozen": {"float32": 16}}
