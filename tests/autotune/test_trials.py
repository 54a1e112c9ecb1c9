"""What an experiment becomes with what was measured best."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT
from det_files.autotune.plan import _derive
from det_files.autotune.space import OFFLOADS, Axes
from det_files.autotune.trials import tuned_experiment
from det_files.experiment import load_experiment
from det_files.validate import check_experiment

ASKED = {"metric": "throughput", "steps": 4, "warmup_steps": 1}
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps", "activation_checkpointing")


@pytest.mark.parametrize("name", ["swallow_7b_autotune", "swallow_7b_ds3", "gpt2_ds1"])
def test_the_best_experiment_runs_what_was_measured(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    experiment = load_experiment(ROOT / "experiments" / f"{name}.yaml")
    args = check_experiment(experiment)
    axes = Axes((1, 2, 3), OFFLOADS, (False, True), (None, 10**7), (4,))
    for candidate in axes.candidates(2, None):
        measured = check_experiment(_derive(experiment, args, ASKED, candidate))
        tuned = tuned_experiment(experiment, args, candidate)
        best = check_experiment(tuned)
        assert best.deepspeed == measured.deepspeed
        assert [best.training[key] for key in BATCH] == [measured.training[key] for key in BATCH]
        given = experiment.config | {"hyperparameters": None}
        assert tuned.config | {"hyperparameters": None} == given
        assert best.training["max_steps"] == args.training["max_steps"]


def test_flags_of_the_entrypoint_do_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "flags.yaml"
    text = (ROOT / "experiments/smollm2_135m_ds2.yaml").read_text()
    flags = "--oom_backoff true --load_best_model_at_end true --seed 7"
    lines = [f"{x} {flags}" if x.startswith("entrypoint:") else x for x in text.splitlines()]
    path.write_text("\n".join(lines))
    experiment = load_experiment(path)
    assert experiment.entrypoint.flags == flags.split()
    args = check_experiment(experiment)
    assert args.training["oom_backoff"] is True
    (candidate,) = Axes((2,), ("none",), (False,), (None,), (4,)).candidates(2, None)
    derived = _derive(experiment, args, ASKED, candidate)
    measured = check_experiment(derived)
    assert measured.training["seed"] == 7
    assert not measured.training["oom_backoff"]
    assert not measured.training.get("load_best_model_at_end")
    assert derived.config["entrypoint"][-1] == "det_files.run_clm"
