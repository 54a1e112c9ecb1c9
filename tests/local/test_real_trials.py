"""The runner with the real entrypoint: stopping, killing, resuming, and the predecessor's files."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Trial, rank_environment, set_arguments, start

STEPS = 10


def command(tmp_path: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "det_files.local", *arguments),
        *("--runs-dir", str(tmp_path / "runs")),
    ]


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(tmp_path, *arguments),
        cwd=ROOT,
        env=rank_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def trial_of(done: subprocess.CompletedProcess[str]) -> Trial:
    """The first trial of the run whose directory is the last line on stdout."""
    directory = ROOT / done.stdout.splitlines()[-1]
    return Trial(directory / "trials" / "1", done.returncode, done.stdout + done.stderr)


@pytest.fixture
def experiment(tmp_path: Path, tiny_overrides: dict[str, Any]) -> list[str]:
    """Arguments for the shipped smollm2_135m_ds2.yaml on the tiny model, in float32."""
    own = {
        "training_arguments__max_steps": STEPS,
        "training_arguments__eval_steps": 5,
        "training_arguments__save_steps": 4,
    }
    return ["experiments/smollm2_135m_ds2.yaml", *set_arguments(tiny_overrides | own)]


def start_and_wait_for_step(tmp_path: Path, arguments: list[str], step: int) -> Any:
    """A runner as a process, once its trial has logged `step`."""
    process = start(command(tmp_path, *arguments))
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        for path in tmp_path.glob("runs/*/*/trials/1/metrics.jsonl"):
            if f'"steps_completed": {step},' in path.read_text():
                return process
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"step {step} was never logged:\n{process.communicate()[0]}")


def test_stopped_and_killed_runs_continue_as_if_nothing_had_happened(
    tmp_path: Path, experiment: list[str]
) -> None:
    whole = trial_of(run(tmp_path / "whole", *experiment))
    assert whole.code == 0, whole.output
    losses = {row["steps_completed"]: row["metrics"]["loss"] for row in whole.rows("training")}
    assert list(losses) == list(range(1, STEPS + 1))

    process = start_and_wait_for_step(tmp_path, experiment, 2)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    run_directory = ROOT / output.splitlines()[-1]
    assert (
        json.loads((run_directory / "summary.json").read_text())["trials"][0]["state"] == "STOPPED"
    )

    # Then killed without warning behind a checkpoint, and resumed once more.
    resume = ["--resume", str(run_directory)]
    process = start_and_wait_for_step(tmp_path, resume, 6)
    process.kill()
    process.wait()
    resumed = trial_of(run(tmp_path, *resume))
    assert resumed.code == 0, resumed.output
    again = {row["steps_completed"]: row["metrics"]["loss"] for row in resumed.rows("training")}
    assert again.keys() == losses.keys()
    for step, loss in losses.items():
        assert again[step] == pytest.approx(loss, rel=1e-6), f"step {step}"


def test_the_predecessors_experiment_runs(
    tmp_path: Path, tiny_model: Path, tiny_data: Path, shared: Path
) -> None:
    replaced = {
        "model_arguments__model_name_or_path": str(tiny_model),
        "data_arguments__sources": [{"path": str(tiny_data)}],
        "training_arguments__max_steps": 2,
    }
    shorter = ["--set", "searcher.max_length.batches=2"]
    file = str(shared / "legacy" / "swallow_70b_ds3.yaml")
    done = run(tmp_path, file, "--slots", "2", *shorter, *set_arguments(replaced))
    trial = trial_of(done)
    assert trial.code == 0, trial.output
    for old in (
        "`python run_clm.py`",
        "--dataset_name",
        "--dataset_config_name",
        "--use_lora",
        "--torch_dtype",
        "--evaluation_strategy",
        "--deepspeed",
    ):
        assert done.stderr.count(f"{old} is now") == 1, done.stderr
    shutil.rmtree("/tmp/test-clm", ignore_errors=True)  # the output_dir that the file names


def test_the_predecessors_broken_json_is_refused(
    tmp_path: Path, experiment: list[str], shared: Path
) -> None:
    broken = shared / "legacy" / "ds_config_stage_3.json"
    done = run(tmp_path, *experiment, "--set", f"hyperparameters.deepspeed_config={broken}")
    assert done.returncode == 2
    assert f"{broken}, line 17, column 6" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_faults_that_only_the_trial_can_find_end_it_with_2(
    tmp_path: Path, experiment: list[str]
) -> None:
    bad = tmp_path / "data"
    for split in ("train", "val"):
        (bad / split).mkdir(parents=True)
        (bad / split / "rows.jsonl").write_text('{"input": "a", "output": "b"}\n{"input": 3}\n')
    sources = json.dumps([{"path": str(bad)}])
    done = run(tmp_path, *experiment, "--set", f"hyperparameters.data_arguments.sources={sources}")
    assert done.returncode == 2, done.stderr
    assert "rows.jsonl, line 2" in done.stderr
    assert (ROOT / done.stdout.splitlines()[-1]).is_dir()


def test_a_search_ends_trials_at_their_rungs(
    tmp_path: Path, tiny_overrides: dict[str, Any]
) -> None:
    """Two ranks a trial; rungs at 2 and 8 steps, though validations were asked for every 6."""
    own = {
        "training_arguments__max_steps": 8,
        "training_arguments__eval_steps": 6,
        "training_arguments__save_steps": 6,
        # A later trial is worse: only the first goes on beyond its first rung.
        "training_arguments__learning_rate": {"type": "categorical", "vals": [1e-2, 1e-6]},
    }
    searcher = {"name": "async_halving", "num_rungs": 2, "divisor": 4, "max_trials": 2}
    searcher |= {"metric": "eval_loss", "max_time": 8, "time_metric": "batches"}
    words = ["--set", f"searcher={json.dumps(searcher)}"]
    words += ["--set", "reproducibility={experiment_seed: 0}"]  # draws 1e-2, then 1e-6
    file = "experiments/smollm2_135m_ds2.yaml"
    done = run(tmp_path, file, *set_arguments(tiny_overrides | own), *words)
    assert done.returncode == 0, done.stderr
    summary = json.loads((ROOT / done.stdout.splitlines()[-1] / "summary.json").read_text())
    first, second = summary["trials"]
    rates = [t["params"]["training_arguments.learning_rate"] for t in (first, second)]
    assert rates == [1e-2, 1e-6]
    assert [visit["units"] for visit in first["rungs"]] == [2, 8]
    assert (second["stopped_at"], second["steps_completed"]) == (2, 2)
    directory = ROOT / done.stdout.splitlines()[-1] / "trials" / "2"
    stopped = Trial(directory, 0, "")
    assert [row["steps_completed"] for row in stopped.rows("training")] == [1, 2]
    assert not (directory / "preempted").exists()  # it has ended, it was not put off
    checkpoints = list((directory / "checkpoints").glob("*/metadata.json"))
    assert [json.loads(p.read_text())["steps_completed"] for p in checkpoints] == [2]
