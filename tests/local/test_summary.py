"""summary.json: entries of trials, the best one, what is kept and what is hidden."""

import json
from pathlib import Path

import pytest

from det_files.local.summary import (
    State,
    Trial,
    best_trial,
    describe_searcher,
    update_summary,
    without_secrets,
)

from .test_run_directory import checkpoint

FACTS = {"searcher": describe_searcher({"name": "single", "metric": "eval_loss"}), "slots": 2}


def trial_with(directory: Path, number: int, evaluations: dict[int, float]) -> Trial:
    directory.mkdir()
    with open(directory / "metrics.jsonl", "w") as file:
        for steps, value in evaluations.items():
            row = {"time": 1.0, "group": "validation", "steps_completed": steps}
            file.write(json.dumps(row | {"metrics": {"eval_loss": value}}) + "\n")
    return Trial(number, directory, {"lr": number}, State.COMPLETED)


def test_a_trial_names_its_best_and_its_latest_checkpoint(tmp_path: Path) -> None:
    trial = trial_with(tmp_path / "1", 1, {4: 0.5, 8: 0.9})
    checkpoint(trial.directory, "at-4", 4)
    checkpoint(trial.directory, "at-8", 8)
    entry = trial.summary("eval_loss", smaller_is_better=True)
    assert (entry["best_checkpoint"], entry["latest_checkpoint"]) == ("at-4", "at-8")
    assert entry["best"] == {"eval_loss": 0.5, "steps_completed": 4}
    assert entry["final"] == {"eval_loss": 0.9}
    assert entry["steps_completed"] == 8
    larger = trial.summary("eval_loss", smaller_is_better=False)
    assert (larger["best_checkpoint"], larger["best"]["steps_completed"]) == ("at-8", 8)


def test_a_trial_that_has_done_nothing_has_an_entry_too(tmp_path: Path) -> None:
    entry = Trial(1, tmp_path, {}, State.STOPPED).summary("eval_loss", True)
    assert entry["state"] == "STOPPED"
    assert entry["steps_completed"] == 0
    assert (entry["final"], entry["best"]) == ({}, {})
    assert (entry["best_checkpoint"], entry["latest_checkpoint"]) == (None, None)


@pytest.mark.parametrize(("smaller", "best"), [(True, 2), (False, 1)])
def test_the_best_trial_follows_the_direction(tmp_path: Path, smaller: bool, best: int) -> None:
    trials = [
        trial_with(tmp_path / "1", 1, {4: 0.8}),
        trial_with(tmp_path / "2", 2, {4: 0.3}),
        trial_with(tmp_path / "3", 3, {}),
    ]
    facts = FACTS | {"searcher": describe_searcher({"smaller_is_better": smaller})}
    assert update_summary({}, trials, facts)["best_trial"] == best


def test_an_only_trial_is_the_best_and_of_several_unmeasured_none_is() -> None:
    assert best_trial([{"trial": 1, "best": {}}], "eval_loss", True) == 1
    several = [{"trial": n, "best": {}, "state": "COMPLETED"} for n in (1, 2)]
    assert best_trial(several, "eval_loss", True) is None


def test_of_several_the_best_has_completed_with_a_number() -> None:
    values = [(3.0, "COMPLETED"), (1.0, "ERROR"), (2.0, "COMPLETED"), (3e38, "COMPLETED")]
    entries = [
        {"trial": n, "best": {"m": value}, "state": state}
        for n, (value, state) in enumerate(values, start=1)
    ]
    assert best_trial(entries, "m", True) == 3
    assert best_trial(entries, "m", False) == 1


def test_what_other_tools_have_added_is_kept(tmp_path: Path) -> None:
    trials = [trial_with(tmp_path / "1", 1, {})]
    first = update_summary({}, trials, FACTS)
    first["evaluation"] = {"rouge": 0.5}
    first["trials"][0]["note"] = "mine"
    trials[0].restarts = 3
    second = update_summary(first, trials, FACTS | {"slots": 1})
    assert second["evaluation"] == {"rouge": 0.5}
    assert second["started"] == first["started"]
    assert second["slots"] == 1
    assert (second["trials"][0]["note"], second["trials"][0]["restarts"]) == ("mine", 3)


def test_secrets_are_hidden_and_tokens_of_text_are_not() -> None:
    settings = {
        "hub_token": "hf_abc",
        "token": "hf_abc",
        "eos_token": "</s>",
        "max_tokens": 5,
        "nested": [{"WANDB_API_KEY": "abc"}, "HF_TOKEN=hf_abc"],
    }
    assert without_secrets(settings) == {
        "hub_token": "***",
        "token": "***",
        "eos_token": "</s>",
        "max_tokens": 5,
        "nested": [{"WANDB_API_KEY": "***"}, "HF_TOKEN=***"],
    }
    assert settings["hub_token"] == "hf_abc"  # the settings themselves are not touched


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (
            "environment.environment_variables=[HF_TOKEN=hf_abc, NCCL_DEBUG=INFO]",
            "environment.environment_variables=[HF_TOKEN=***, NCCL_DEBUG=INFO]",
        ),
        ("a.training_arguments.hub_token=hf_abc", "a.training_arguments.hub_token=***"),
        ("a.tokenizer.pad_token=<pad>", "a.tokenizer.pad_token=<pad>"),
    ],
)
def test_secrets_in_a_command_are_hidden(word: str, shown: str) -> None:
    assert without_secrets(word) == shown
