"""Searches by the runner as a process: halving, failures, stops and kills, on a tiny trial."""

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest

from det_files.experiment import load_experiment
from det_files.local.study_file import open_study

from .conftest import Context, wait_for

EXPERIMENT = """
name: tiny
searcher: {searcher}
resources: {{slots_per_trial: 1}}
max_restarts: 0
reproducibility: {{experiment_seed: 3}}
environment:
  environment_variables: {variables}
hyperparameters:
  training_arguments:
    max_steps: 16
    learning_rate: {{type: log, base: 10, minval: -5, maxval: -1, count: 3}}
entrypoint: python -m determined.launch.torch_distributed python -m det_files.run_clm
"""
ASHA = {
    "name": "adaptive_asha",
    "metric": "eval_loss",
    "max_trials": 5,
    "max_time": 16,
    "time_metric": "batches",
    "max_concurrent_trials": 1,
}


def write(context: Context, searcher: dict[str, Any], **settings: Any) -> None:
    settings = {"steps": 16, "step_s": 0.01} | settings
    variables = [f"TINY_{name.upper()}={value}" for name, value in settings.items()]
    text = EXPERIMENT.format(searcher=json.dumps(searcher), variables=json.dumps(variables))
    (context.path / "tiny.yaml").write_text(text)


def summary_of(context: Context) -> dict[str, Any]:
    return json.loads((context.run / "summary.json").read_text())


def steps_of(context: Context) -> int:
    """Rows of all trials so far."""
    return sum(p.read_text().count("\n") for p in context.run.glob("trials/*/metrics.jsonl"))


def kill_at(context: Context, runner: subprocess.Popen, rows: int, seconds: float) -> None:
    """Kills the runner some time after so many rows, and waits until nothing of it is left."""
    wait_for(lambda: runner.poll() is not None or steps_of(context) >= rows)
    try:
        runner.wait(seconds)
    except subprocess.TimeoutExpired:
        runner.send_signal(signal.SIGKILL)
    wait_for(lambda: not context.processes(), 20)


def told(summary: dict[str, Any]) -> list[tuple]:
    """What a search came to, without times and names of checkpoints."""
    keys = ("trial", "state", "params", "rungs", "best", "steps_completed", "stopped_at")
    return [tuple(t[key] for key in keys) for t in summary["trials"]]


def test_halving_stops_trials_at_their_rungs_and_leaves_the_best(context: Context) -> None:
    write(context, ASHA)
    code, out, err = context.finish(context.start(), 120)
    assert code == 0, err
    summary = summary_of(context)
    # floor(log4 16) + 1 = 3 and floor(log4 5) + 1 = 2 rungs: brackets of 2 and of 1, weights 4/2
    # and 1: 5 x 2/3 = 3 and 1, the remainder to the first.
    assert summary["search"]["brackets"] == [
        {"rungs": [4, 16], "trials": 4},
        {"rungs": [16], "trials": 1},
    ]
    assert [trial["bracket"] for trial in summary["trials"]] == [0, 1, 0, 0, 0]
    assert {trial["state"] for trial in summary["trials"]} == {"COMPLETED"}
    for trial in summary["trials"]:
        last = trial["rungs"][-1]
        assert trial["steps_completed"] == last["units"]
        assert not last["continues"]
        assert trial["stopped_at"] == (last["units"] if last["units"] < 16 else None)
    # One of a bracket's first four goes on, and whoever was better than all before it.
    first = [t for t in summary["trials"] if t["bracket"] == 0]
    values = [trial["rungs"][0]["value"] for trial in first]
    best_so_far = [value == min(values[: i + 1]) for i, value in enumerate(values)]
    assert [trial["rungs"][0]["continues"] for trial in first] == best_so_far
    assert 0 < sum(best_so_far) < 4

    best = min(summary["trials"], key=lambda trial: trial["best"]["eval_loss"])
    assert summary["best_trial"] == best["trial"]
    ready = load_experiment(context.run / summary["search"]["best_experiment"])
    rate = best["params"]["training_arguments.learning_rate"]
    assert ready.hyperparameters["training_arguments"]["learning_rate"] == rate
    assert ready.searcher == {"name": "single", "metric": "eval_loss"}

    study = open_study(context.run / "study.db")
    states = [trial.state for trial in study.trials]
    assert states.count(optuna.trial.TrialState.PRUNED) == 4 - sum(best_so_far)
    assert study.best_trial.number + 1 == best["trial"]
    code, out, err = context.finish(context.start("--resume", "runs/tiny/1"))
    assert (code, "has completed" in err) == (0, True)
    assert out.splitlines()[-1] == "runs/tiny/1"


def test_a_killed_search_goes_on_as_if_it_had_not_been(context: Context) -> None:
    write(context, ASHA, save_every=2)
    code, _, err = context.finish(context.start(), 120)
    assert code == 0, err
    whole = summary_of(context)
    shutil.rmtree(context.run)

    rng = random.Random(1)
    words: tuple[str, ...] = ()
    for _ in range(8):
        rows = steps_of(context) + rng.randint(1, 9)
        kill_at(context, context.start(*words), rows, rng.uniform(0, 0.5))
        words = ("--resume", "runs/tiny/1")
    code, _, err = context.finish(context.start(*words), 120)
    assert code == 0, err
    resumed = summary_of(context)
    assert told(resumed) == told(whole)
    assert resumed["best_trial"] == whole["best_trial"]
    # What is lost is what had not been saved: no step is trained again from before a checkpoint.
    for trial in resumed["trials"]:
        log = (context.run / "trials" / str(trial["trial"]) / "log.txt").read_text()
        starts = [line for line in log.splitlines() if line.startswith("[runner]")]
        rows = (context.run / "trials" / str(trial["trial"]) / "metrics.jsonl").read_text()
        repeated = rows.count('"group": "training"') - trial["steps_completed"]
        assert repeated <= 2 * (len(starts) - 1)


def test_a_stopped_search_is_resumable_and_ends_all_that_runs(context: Context) -> None:
    searcher = {"name": "random", "metric": "eval_loss", "max_trials": 3}
    write(context, searcher | {"max_concurrent_trials": 2}, step_s=0.2, steps=40)
    runner = context.start()
    wait_for(lambda: len(list(context.run.glob("trials/[12]/metrics.jsonl"))) == 2)
    runner.send_signal(signal.SIGTERM)
    code, out, err = context.finish(runner)
    assert code == 0, err
    assert "resume with: " in out
    summary = summary_of(context)
    assert [trial["state"] for trial in summary["trials"]] == ["STOPPED", "STOPPED"]
    assert context.processes() == []
    text = (context.run / "experiment.yaml").read_text().replace("STEP_S=0.2", "STEP_S=0.01")
    (context.run / "experiment.yaml").write_text(text)
    for trial in (1, 2):
        path = context.run / "trials" / str(trial) / "experiment.yaml"
        path.write_text(path.read_text().replace("STEP_S=0.2", "STEP_S=0.01"))
    code, _, err = context.finish(context.start("--resume", "runs/tiny/1"), 90)
    assert code == 0, err
    done = summary_of(context)["trials"]
    assert [(t["state"], t["steps_completed"]) for t in done] == [("COMPLETED", 40)] * 3
    assert [t["params"] for t in done[:2]] == [t["params"] for t in summary["trials"]]


def test_a_grid_has_every_point_and_failures_do_not_end_it(context: Context) -> None:
    searcher = {"name": "grid", "metric": "eval_loss"}
    write(context, searcher, fail_rate=1e-3)
    code, _, err = context.finish(context.start(), 90)
    assert code == 0, err
    summary = summary_of(context)
    rates = [t["params"]["training_arguments.learning_rate"] for t in summary["trials"]]
    assert rates == pytest.approx([1e-5, 1e-3, 1e-1])
    assert [t["state"] for t in summary["trials"]] == ["COMPLETED", "ERROR", "COMPLETED"]
    assert summary["best_trial"] in (1, 3)
    study = open_study(context.run / "study.db")
    assert study.trials[1].state == optuna.trial.TrialState.FAIL


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_fault_that_every_trial_finds_ends_the_search(context: Context, at_once: int) -> None:
    searcher = {"name": "random", "metric": "eval_loss", "max_trials": 9}
    searcher["max_concurrent_trials"] = at_once
    write(context, searcher, fail="config_error", fail_at=1, fail_rank=0)
    code, _, err = context.finish(context.start(), 60)
    assert code == 2, err
    assert 2 <= len(summary_of(context)["trials"]) <= 1 + 2 * at_once


def test_a_trial_that_dies_while_all_is_stopped_is_not_lost(context: Context) -> None:
    """A service manager signals every process at once."""
    searcher = {"name": "random", "metric": "eval_loss", "max_trials": 1}
    write(context, searcher, step_s=0.2, steps=400)
    runner = context.start()
    wait_for(lambda: steps_of(context) > 2)
    (rank,) = context.ranks()
    os.kill(runner.pid, signal.SIGSTOP)
    os.kill(rank, signal.SIGKILL)
    runner.send_signal(signal.SIGTERM)
    os.kill(runner.pid, signal.SIGCONT)
    code, out, err = context.finish(runner)
    assert code == 1, err
    assert [trial["state"] for trial in summary_of(context)["trials"]] == ["KILLED"]
    assert "resume with: " in out


def test_the_dashboard_opens_the_study(context: Context, tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    write(context, {"name": "grid", "metric": "eval_loss"})
    code, _, err = context.finish(context.start(), 90)
    assert code == 0, err
    storage = optuna.storages.RDBStorage(f"sqlite:///{context.run / 'study.db'}")
    app = dashboard.wsgi(storage)
    answer: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "wsgi.url_scheme": "http"}
    environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.errors": None}
    body = b"".join(app(environ, lambda status, headers, *_: answer.append(status)))
    assert answer[0].startswith("200")
    (study,) = json.loads(body)["study_summaries"]
    assert study["study_name"] == "tiny"
