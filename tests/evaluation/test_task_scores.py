"""Tasks within a training's validations: the same for any layout, and training is what it was."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from in_process import run_here

from conftest import STAGE_3, RunTrials, Trial
from det_files.evaluation import task_scores
from tiny import make_echoes, make_model

STAGE_2 = {"deepspeed_config": "ds_configs/ds_config_stage_2.json"}
TEXT = "the red cat sees a small dog under the old tree and keeps seven blue birds\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Hyperparameters of a run that learns echoes, with a task of each kind."""
    directory = tmp_path_factory.mktemp("tasks")
    data = make_echoes(directory / "data")
    (directory / "text.txt").write_text(TEXT * 30)
    (directory / "gold.m2").write_text(
        "S cat 2\nA 0 2|||R:X|||the red cat sees|||REQUIRED|||-NONE-|||0\n\nS cat 3\n"
    )
    return {
        "model_arguments": {
            "model_name_or_path": str(make_model(directory / "model")),
            "dtype": "float32",
        },
        "data_arguments": {"sources": [{"path": str(data)}]},
        "training_arguments": {
            "max_steps": 18,
            "eval_steps": 9,
            "save_steps": 18,
            "learning_rate": 1e-2,
        },
        "tasks": {
            "echo": {"metrics": ["exact_match", "tokens"], "batch_size": 2, "max_new_tokens": 8},
            "general": {"metrics": ["perplexity"], "path": str(directory / "text.txt")},
            "gec": {
                "metrics": ["m2", "length"],
                "m2": str(directory / "gold.m2"),
                "max_new_tokens": 8,
            },
        },
    }


def hyperparameters(base: dict[str, Any], tasks: bool = True, **more: Any) -> dict[str, Any]:
    flat = {
        f"{section}__{name}": value
        for section, values in base.items()
        if section != "tasks"
        for name, value in values.items()
    }
    return flat | ({"eval_tasks": base["tasks"]} if tasks else {}) | more


def scores(trial: Trial) -> list[dict[str, float]]:
    """What the validations carry of the tasks."""
    assert "done" in trial.output, trial.output[-5000:]
    tasks = ("eval_echo", "eval_general", "eval_gec")
    return [
        {name: value for name, value in row["metrics"].items() if name.startswith(tasks)}
        for row in trial.rows("validation")
    ]


LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "one_rank": (1, {}),
    "ddp": (2, {}),
    "stage_2": (2, STAGE_2),
    # Gradient checkpointing goes without a cache, which generation has all the same.
    "stage_3": (2, STAGE_3 | {"training_arguments__gradient_checkpointing": True}),
}


@pytest.fixture(scope="module")
def layouts(
    base: dict[str, Any], run_trials: RunTrials, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trial]:
    """A trial of the same training in each layout, and in two of them one without tasks."""
    trials: dict[int, dict[str, dict[str, Any]]] = {1: {}, 2: {}}
    for name, (ranks, more) in LAYOUTS.items():
        trials[ranks][name] = hyperparameters(base, **more)
        if name in ("one_rank", "stage_3"):
            trials[ranks][f"{name}_bare"] = hyperparameters(base, tasks=False, **more)
    found: dict[str, Trial] = {}
    for ranks, some in trials.items():
        found |= run_trials(tmp_path_factory.mktemp("ranks"), ranks, some)
    return found


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "one_rank"])
def test_scores_are_the_same_in_every_layout(layouts: dict[str, Trial], name: str) -> None:
    expected = scores(layouts["one_rank"])
    assert 0 < expected[-1]["eval_echo_exact_match"] < 100
    assert expected[-1]["eval_general_perplexity"] < expected[0]["eval_general_perplexity"]
    for row, right in zip(scores(layouts[name]), expected, strict=True):
        assert row == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize("name", ["one_rank", "stage_3"])
def test_training_is_the_one_without_tasks(layouts: dict[str, Trial], name: str) -> None:
    """To the last bit: nothing is drawn, and nothing of the model is left changed."""
    assert layouts[name].losses() == layouts[f"{name}_bare"].losses()
    own = [row["metrics"]["eval_loss"] for row in layouts[name].rows("validation")]
    bare = [row["metrics"]["eval_loss"] for row in layouts[f"{name}_bare"].rows("validation")]
    assert own == bare


def test_nothing_is_drawn_and_the_model_is_left_as_it_was(
    base: dict[str, Any], tmp_path: Path
) -> None:
    seen = []

    def watched(trainer: Any, tasks: Any) -> dict[str, float]:
        before = torch.get_rng_state(), trainer.model.training, torch.is_grad_enabled()
        found = score(trainer, tasks)
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1:] == (trainer.model.training, torch.is_grad_enabled())
        seen.append(found)
        return found

    score = task_scores.score_tasks
    given = base | {"eval_tasks": base["tasks"]}
    given["training_arguments"] = base["training_arguments"] | {
        "max_steps": 2,
        "eval_steps": 1,
        "per_device_train_batch_size": 8,
        "use_cpu": True,
    }
    del given["tasks"]
    with mock.patch.object(task_scores, "score_tasks", watched):
        run_here(tmp_path, given)
    assert len(seen) == 2 and seen[0].keys() == seen[1].keys()
