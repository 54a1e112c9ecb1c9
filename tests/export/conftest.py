"""Checkpoints to export: of real trials on two ranks and in this process, and put together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from export_checkpoints import Adapters

from conftest import RunTrials, Trial
from det_files.evaluation.compare import find_checkpoint
from tiny import make_model

STAGE_3 = {"deepspeed_config": "ds_configs/ds_config_stage_3.json"}
SCATTERED = "overwrite_deepspeed_args__zero_optimization__stage3_gather_16bit_weights_on_model_save"


@pytest.fixture(scope="session")
def tied_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose output layer is its embedding."""
    return make_model(tmp_path_factory.mktemp("tied"), tie_word_embeddings=True)


@pytest.fixture(scope="session")
def zero_checkpoints(
    run_trials: RunTrials, tied_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Checkpoints of whole models, trained on two ranks under DeepSpeed.

    gathered: stage 3, with ZeRO shards and model.safetensors; scattered: the same without the
    latter; stage_2: in bfloat16, with both.
    """
    short = {"training_arguments__max_steps": 2}
    tied = short | {"model_arguments__model_name_or_path": str(tied_model)}
    trials: Mapping[str, Mapping[str, Any]] = {
        "gathered": STAGE_3 | tied,
        "scattered": STAGE_3 | tied | {SCATTERED: False},
        "stage_2": short
        | {
            "deepspeed_config": "ds_configs/ds_config_stage_2.json",
            "model_arguments__dtype": "bfloat16",
        },
    }
    done: dict[str, Trial] = run_trials(tmp_path_factory.mktemp("zero"), 2, trials)
    for trial in done.values():
        assert trial.code == 0, trial.output
    return {name: find_checkpoint(trial.directory, None) for name, trial in done.items()}


@pytest.fixture(scope="session")
def adapters(tiny_overrides: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    """method → the checkpoint of a trial of the tiny Llama in this process, run once each."""
    return Adapters(tmp_path_factory.mktemp("adapters"), tiny_overrides)


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path) -> Any:
    """No test finds the token of whoever runs it."""
    without = {
        k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    }
    absent = str(tmp_path / "no-token")
    with (
        mock.patch.dict(os.environ, without, clear=True),
        mock.patch("huggingface_hub.constants.HF_TOKEN_PATH", absent),
    ):
        yield
