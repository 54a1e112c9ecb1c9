"""Whole trials of each method: the loss falls, resuming is exact, ranks and stages agree."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from conftest import RunTrials, Trial
from tiny import make_preferences

MODULE = "det_files.run_preference"
FORMS = {"dpo": "pairs", "orpo": "pairs", "reward": "pairs", "kto": "marked", "grpo": "prompts"}
GRPO = {"rewards": ["similarity"], "num_generations": 4, "max_completion_length": 8}
LORA = {"tuning_arguments": {"method": "lora"}}
STEPS = 6
# An epoch of 20 rows has two steps of 8: step 3 is in the second. A row is logged every other step.
RESUMED = {
    "training_arguments__max_steps": STEPS,
    "training_arguments__logging_steps": 2,
    "training_arguments__save_steps": 3,
    "training_arguments__eval_steps": 3,
    "training_arguments__save_total_limit": 9,
}
FULL = {"dpo full": {}, "kto full": {}, "reward full": {}}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("preferences")
    return {form: make_preferences(root / form, form) for form in set(FORMS.values())}


def job(name: str, sources: dict[str, Path], **options: Any) -> dict[str, Any]:
    """The overrides of a trial; its name begins with the method."""
    method = name.split()[0]
    preference = {"method": method} | (GRPO if method == "grpo" else {})
    return {
        "data_arguments__sources": [{"path": str(sources[FORMS[method]])}],
        "training_arguments__per_device_eval_batch_size": 8,
        "preference_arguments": preference | options.pop("preference", {}),
    } | options


@pytest.fixture(scope="module")
def one_rank(
    tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials, sources: dict[str, Path]
) -> dict[str, Trial]:
    several = {"num_iterations": 2, "steps_per_generation": 2}
    jobs = {f"{method} lora": job(method, sources, **LORA, **RESUMED) for method in FORMS}
    jobs |= {name: job(name, sources, **RESUMED) for name in FULL}
    # Four steps learn from what is generated at once, and a checkpoint lies between them.
    jobs["grpo reusing"] = job("grpo", sources, preference=several, **LORA, **RESUMED)
    every = {"training_arguments__max_steps": 5}
    jobs["dpo curve"] = job("dpo", sources, **every)
    jobs["dpo accumulated"] = job(
        "dpo",
        sources,
        training_arguments__gradient_accumulation_steps=4,
        training_arguments__per_device_train_batch_size=2,
        **every,
    )
    precomputed = {"precompute_ref_log_probs": True}
    jobs["dpo precomputed"] = job("dpo", sources, preference=precomputed, **every)
    jobs["dpo lora curve"] = job("dpo", sources, **LORA, **every)
    jobs["grpo longer"] = job(
        "grpo",
        sources,
        training_arguments__max_steps=30,
        training_arguments__per_device_train_batch_size=48,
        training_arguments__eval_strategy="no",
        training_arguments__learning_rate=2e-2,
    )
    return run_trials(tmp_path_factory.mktemp("one"), 1, jobs, MODULE)


def column(trial: Trial, group: str, name: str) -> dict[int, float]:
    return {row["steps_completed"]: row["metrics"][name] for row in trial.rows(group)}


@pytest.mark.parametrize(
    "name", [f"{method} lora" for method in FORMS if method != "grpo"] + [*FULL]
)
def test_the_loss_falls(name: str, one_rank: dict[str, Trial]) -> None:
    trial = one_rank[name]
    assert trial.code == 0, trial.output
    losses = trial.losses()
    assert losses[-1] < losses[0] * 0.99
    evaluated = list(column(trial, "validation", "eval_loss").values())
    assert evaluated[-1] < evaluated[0]


def test_grpo_raises_its_reward(one_rank: dict[str, Trial]) -> None:
    trial = one_rank["grpo longer"]
    assert trial.code == 0, trial.output
    rewards = list(column(trial, "training", "rewards/similarity/mean").values())
    assert sum(rewards[-6:]) > sum(rewards[:6]) * 1.15


def test_training_begins_at_the_reference(one_rank: dict[str, Trial]) -> None:
    for name in ("dpo curve", "dpo lora curve", "dpo precomputed"):
        assert one_rank[name].losses()[0] == pytest.approx(math.log(2), abs=1e-6)


def same_curve(trial: Trial, reference: Trial) -> None:
    assert trial.code == 0, trial.output
    assert reference.losses()[-1] < reference.losses()[0] * 0.99
    assert trial.losses() == pytest.approx(reference.losses(), rel=1e-5)
    for metric in ("eval_loss", "eval_rewards/margins", "eval_rewards/accuracies"):
        mine, theirs = (column(t, "validation", metric) for t in (trial, reference))
        assert mine == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("name", ["dpo accumulated", "dpo precomputed"])
def test_one_curve_on_one_rank(name: str, one_rank: dict[str, Trial]) -> None:
    same_curve(one_rank[name], one_rank["dpo curve"])


RESUMING = [*(f"{method} lora" for method in FORMS), *FULL, "grpo reusing"]


@pytest.fixture(scope="module")
def resumed(
    tmp_path_factory: pytest.TempPathFactory,
    run_trials: RunTrials,
    one_rank: dict[str, Trial],
    sources: dict[str, Path],
) -> dict[str, Trial]:
    """As after a kill: of the whole runs, the checkpoints of step 3 alone are there."""
    directory = tmp_path_factory.mktemp("resumed")
    jobs = {}
    for name in RESUMING:
        killed = shutil.copytree(one_rank[name].directory, directory / name)
        (killed / "metrics.jsonl").unlink()
        for checkpoint in (killed / "checkpoints").iterdir():
            if json.loads((checkpoint / "metadata.json").read_text())["steps_completed"] != 3:
                shutil.rmtree(checkpoint)
        options = {} if name in FULL else LORA
        several = {"num_iterations": 2, "steps_per_generation": 2}
        more = {"preference": several} if name == "grpo reusing" else {}
        jobs[name] = job(name, sources, **more, **options, **RESUMED)
    return run_trials(directory, 1, jobs, MODULE)


@pytest.mark.parametrize("name", RESUMING)
def test_resuming_is_exact(
    name: str, one_rank: dict[str, Trial], resumed: dict[str, Trial]
) -> None:
    assert resumed[name].code == 0, resumed[name].output
    for group in ("training", "validation"):
        got = {row["steps_completed"]: row["metrics"] for row in resumed[name].rows(group)}
        wanted = {row["steps_completed"]: row["metrics"] for row in one_rank[name].rows(group)}
        assert got.keys() == wanted.keys()
        for step, metrics in wanted.items():
            for metric, value in metrics.items():
                if not any(
                    word in metric for word in ("time", "runtime", "per_second", "progress")
                ):
                    where = f"{group}, step {step}, {metric}"
                    assert got[step][metric] == pytest.approx(value, rel=1e-6, abs=1e-9), where


def test_a_copy_of_a_new_adapter_is_neither_kept_nor_saved(one_rank: dict[str, Trial]) -> None:
    checkpoint = next((one_rank["dpo lora"].directory / "checkpoints").iterdir())
    assert not (checkpoint / "ref").exists()
    with safe_open(str(checkpoint / "adapter_model.safetensors"), "pt") as file:
        assert file.keys() and not any(".ref." in key for key in file.keys())  # noqa: SIM118


def stage(name: str) -> dict[str, Any]:
    return {"deepspeed_config": f"ds_configs/ds_config_stage_{name}.json"}


SPREAD = {
    "dpo ddp": {},
    "dpo stage 2": stage("2"),
    "dpo stage 3": stage("3"),
    "dpo precomputed": {"preference": {"precompute_ref_log_probs": True}},
    "dpo precomputed stage 3": stage("3") | {"preference": {"precompute_ref_log_probs": True}},
    "dpo lora ddp": LORA,
    "dpo lora stage 3": stage("3") | LORA,
}
RUN = {
    "kto stage 3": stage("3"),
    "kto lora stage 2": stage("2") | LORA,
    "orpo stage 3": stage("3"),
    "reward stage 3": stage("3"),
    "reward lora stage 3": stage("3") | LORA,
    "grpo lora stage 2": stage("2") | LORA,
    "grpo stage 3": stage("3") | {"preference": {"beta": 0.04}},
}


@pytest.fixture(scope="module")
def two_ranks(
    tmp_path_factory: pytest.TempPathFactory, run_trials: RunTrials, sources: dict[str, Path]
) -> dict[str, Trial]:
    every = {
        "training_arguments__max_steps": 5,
        "training_arguments__per_device_eval_batch_size": 4,
    }
    jobs = {name: job(name, sources, **options) | every for name, options in SPREAD.items()}
    every |= {"training_arguments__max_steps": 2}
    jobs |= {name: job(name, sources, **options) | every for name, options in RUN.items()}
    return run_trials(tmp_path_factory.mktemp("two"), 2, jobs, MODULE)


@pytest.mark.parametrize("name", SPREAD)
def test_one_curve_on_two_ranks(
    name: str, one_rank: dict[str, Trial], two_ranks: dict[str, Trial]
) -> None:
    same_curve(two_ranks[name], one_rank["dpo lora curve" if "lora" in name else "dpo curve"])


@pytest.mark.parametrize("name", RUN)
def test_it_trains_on_two_ranks(name: str, two_ranks: dict[str, Trial]) -> None:
    assert two_ranks[name].code == 0, two_ranks[name].output
    assert all(math.isfinite(loss) for loss in two_ranks[name].losses())
    if name == "grpo stage 3":  # its reference is what it begins as
        assert two_ranks[name].rows("training")[0]["metrics"]["kl"] == pytest.approx(0, abs=1e-6)
    assert len(two_ranks[name].losses()) == 2


def test_an_adapter_that_is_continued_is_its_own_reference(
    tmp_path: Path, run_trials: RunTrials, one_rank: dict[str, Trial], sources: dict[str, Path]
) -> None:
    checkpoint = next((one_rank["dpo lora"].directory / "checkpoints").iterdir())
    tuning = {"method": "lora", "adapter": str(checkpoint)}
    steps = {"training_arguments__max_steps": 2}
    jobs = {"dpo": job("dpo", sources, tuning_arguments=tuning, **steps)}
    trial = run_trials(tmp_path, 1, jobs, MODULE)["dpo"]
    assert trial.code == 0, trial.output
    assert trial.losses()[0] == pytest.approx(math.log(2), abs=1e-6)
    assert trial.losses()[1] < trial.losses()[0]
    saved = next((trial.directory / "checkpoints").iterdir())
    assert (saved / "adapter_model.safetensors").is_file()
