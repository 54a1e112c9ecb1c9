"""An autotuning as it is run, on a tiny model: one configuration runs out of memory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from det_files.autotune.__main__ import main
from det_files.experiment import load_experiment
from det_files.local import process_group, trial_run
from det_files.local.run_directory import RunDirectory

HERE = Path(__file__).parent


@pytest.fixture
def experiment(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""name: tiny
resources: {{slots_per_trial: 2}}
searcher: {{name: single, metric: eval_loss}}
environment: {{environment_variables: ["PYTHONPATH={ROOT}"]}}
hyperparameters:
  deepspeed_config: ds_configs/ds_config_stage_2.json
  model_arguments: {{model_name_or_path: {tiny_model}, dtype: float32}}
  data_arguments: {{sources: [{{path: {tiny_data}}}]}}
  training_arguments:
    learning_rate: 1.0e-3
    max_steps: 10
    eval_steps: 5
    save_steps: 5
    per_device_train_batch_size: 4
entrypoint: python -m det_files.run_clm
max_restarts: 2
"""
    )
    return path


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch_command(module: str, *given: Any) -> list[str]:
        command = process_group.launch_command(module, *given)
        at = command.index(module)
        return [*command[: at - 1], str(HERE / "little_memory.py"), *command[at + 1 :]]

    monkeypatch.setattr(trial_run, "launch_command", launch_command)
    monkeypatch.chdir(ROOT)


@pytest.mark.slow
def test_it_tunes(
    tmp_path: Path,
    experiment: Path,
    little_memory: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["--stages", "2", "--checkpointing", "off", "--micro-batches", "1,2,4"]
    words += ["--steps", "3", "--warmup-steps", "1", "--max-trials", "3", "--keep-global-batch"]
    code = main([str(experiment), *words, "--runs-dir", str(tmp_path / "runs")])
    out, err = capsys.readouterr()
    assert code == 0, err
    run = Path(out.splitlines()[-1])
    summary = json.loads((run / "summary.json").read_text())
    found = summary["autotune"]
    outcomes = {t["candidate"]["micro_batch"]: t["outcome"] for t in summary["trials"]}
    assert outcomes == {1: "measured", 2: "measured", 4: "out of memory"}
    failed = next(t for t in summary["trials"] if t["candidate"]["micro_batch"] == 4)
    assert (failed["state"], failed["restarts"]) == ("ERROR", 0)
    assert "out of memory" in out and found["finished"]
    assert [entry["outcome"] for entry in found["ranking"]] == [*["measured"] * 2, "out of memory"]
    for trial in summary["trials"]:
        candidate, training = trial["candidate"], trial["hparams"]["training_arguments"]
        assert training["per_device_train_batch_size"] == candidate["micro_batch"]
        assert candidate["micro_batch"] * training["gradient_accumulation_steps"] == 4

    # Only what was tuned differs from the experiment that was given.
    best, given = load_experiment(run / "best_experiment.yaml"), load_experiment(experiment)
    chosen = found["best"]
    assert chosen["micro_batch"] in (1, 2)
    training = best.config["hyperparameters"]["training_arguments"]
    assert training.pop("per_device_train_batch_size") == chosen["micro_batch"]
    assert training.pop("gradient_accumulation_steps") == chosen["accumulation"]
    assert training.pop("activation_checkpointing") is False
    overwritten = best.config["hyperparameters"].pop("overwrite_deepspeed_args")
    assert overwritten == {"zero_optimization": {"stage": 2}}
    del given.config["hyperparameters"]["training_arguments"]["per_device_train_batch_size"]
    assert best.config == given.config
    deepspeed = json.loads((run / "best_deepspeed.json").read_text())
    assert deepspeed["zero_optimization"]["stage"] == 2
    assert re.search(r"confidence: .*(faster than|not told apart)", out)
    assert (run / "report.html").is_file()

    # Nothing is left to do, and nothing is done again. (This process has the lock already.)
    monkeypatch.setattr(RunDirectory, "lock", lambda self: None)
    assert main(["--resume", str(run)]) == 0
    again = json.loads((run / "summary.json").read_text())
    assert again["trials"] == summary["trials"]


def test_all_faults_at_once_and_nothing_started(
    tmp_path: Path, experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.write_text(experiment.read_text().replace("max_steps: 10", "max_steps: 0"))
    words = ["--stages", "2,4", "--metric", "troughput", "--steps", "1", "--buckets", "x"]
    words += ["--micro-batches", "0", "--gpu-memory", "big", "--slots", "0"]
    code = main([str(experiment), *words, "--runs-dir", str(tmp_path / "runs")])
    err = capsys.readouterr().err
    assert code == 2
    for place in ("--stages", "--metric", "--steps", "--buckets", "--micro-batches", "--slots"):
        assert f"  {place}: " in err
    assert 'did you mean "throughput"?' in err
    assert "--gpu-memory" in err and "training_arguments.max_steps" in err
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_tuned_is_told_with_all_other_faults(
    tmp_path: Path, experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = experiment.read_text().replace("max_steps: 10", "max_steps: 0")
    text = text.replace("  deepspeed_config: ds_configs/ds_config_stage_2.json\n", "")
    text = text.replace("searcher:", "sercher:").replace("run_clm", "run_preference")
    experiment.write_text(text.replace("hyperparameters:", "hyperparameters:\n  1: x"))
    code = main([str(experiment), "--runs-dir", str(tmp_path / "runs")])
    err = capsys.readouterr().err
    assert code == 2
    assert "hyperparameters.deepspeed_config: missing" in err
    assert "run_preference is not measured" in err
    assert "training_arguments.max_steps" in err
    assert 'did you mean "searcher"?' in err and "hyperparameters.1: unknown key" in err


@pytest.mark.parametrize(
    "changes",
    [
        ["--set", "hyperparameters.deepspeed_config=null"],
        ["--set", "entrypoint=python -m det_files.run_clm --output_dir deepspeed_runs"],
    ],
)
def test_a_configuration_that_is_missing_is_said_to_be(
    tmp_path: Path, experiment: Path, capsys: pytest.CaptureFixture[str], changes: list[str]
) -> None:
    lines = experiment.read_text().splitlines()
    experiment.write_text("\n".join(x for x in lines if "deepspeed_config:" not in x))
    assert main([str(experiment), *changes, "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "hyperparameters.deepspeed_config: missing" in capsys.readouterr().err
