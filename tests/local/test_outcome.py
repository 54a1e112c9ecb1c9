"""The lines at the end: of a single trial one each, of a search a table and its best trial."""

import io
from pathlib import Path
from typing import Any

import pytest

from det_files.local.outcome import can_go_on, outcome_lines, show_outcome
from det_files.local.run_directory import RunDirectory
from det_files.local.terminal import Terminal


def entry(number: int, state: str = "COMPLETED", best: float | None = None) -> dict[str, Any]:
    return {
        "trial": number,
        "hparams": {},
        "params": {"tuning_arguments.r": 8 * number},
        "state": state,
        "steps_completed": 10,
        "final": {"eval_loss": best},
        "best": {} if best is None else {"eval_loss": best, "steps_completed": 10},
        "wall_seconds": 65.0,
        "restarts": 0,
    }


def summary_of(trials: list[dict[str, Any]], best: int | None, **search: Any) -> dict[str, Any]:
    return {
        "experiment": "tiny",
        "searcher": {"name": "random", "metric": "eval_loss", "smaller_is_better": True},
        "best_trial": best,
        "trials": trials,
        "search": {"max_trials": len(trials)} | search,
    }


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / "tiny" / "1"
    path.mkdir(parents=True)
    return RunDirectory(path)


def lines_of(summary: dict[str, Any], run: RunDirectory) -> list[str]:
    return outcome_lines(summary, run, Terminal(io.StringIO(), io.StringIO()))


def test_a_search_ends_with_a_table_and_its_best_trial(run: RunDirectory) -> None:
    trials = [entry(1, best=2.0), entry(2, best=1.5), entry(3, "ERROR")]
    summary = summary_of(trials, 2, best_experiment="best_experiment.yaml")
    titles, *body = lines_of(summary, run)
    assert titles.split() == "trial state r best eval_loss steps time".split()
    assert [line.split()[0] for line in body[:3]] == ["2", "1", "3"]
    assert body[3:] == [
        "best hyperparameters: trial 2, eval_loss 1.5000: r 16",
        "experiment with them: runs/tiny/1/best_experiment.yaml",
    ]


def test_a_search_without_a_measured_trial_has_no_best_one(run: RunDirectory) -> None:
    lines = lines_of(summary_of([entry(1, "ERROR")], 1), run)
    assert len(lines) == 2
    assert lines_of(summary_of([], None), run) == []


def test_other_runs_say_one_line_a_trial(run: RunDirectory) -> None:
    summary = summary_of([entry(1, best=2.0)], 1)
    del summary["search"]
    assert lines_of(summary, run) == ["trial 1 COMPLETED: 10 steps in 1m05s, eval_loss 2.0000"]


@pytest.mark.parametrize(
    ("states", "max_trials", "goes_on"),
    [
        (["COMPLETED", "ERROR"], 2, False),
        (["COMPLETED", "ERROR"], 3, True),
        (["COMPLETED", "STOPPED"], 2, True),
        (["COMPLETED", "QUEUED"], 2, True),
    ],
)
def test_a_search_can_go_on_until_all_trials_have_ended(
    run: RunDirectory, states: list[str], max_trials: int, goes_on: bool
) -> None:
    trials = [entry(number, state) for number, state in enumerate(states, 1)]
    assert can_go_on(summary_of(trials, None, max_trials=max_trials), run) == goes_on
    assert not (run.path / "trials").exists()  # looking makes no directories


def test_the_last_line_is_the_run_directory(run: RunDirectory) -> None:
    run.write_summary(summary_of([entry(1, best=2.0), entry(2, "QUEUED")], 1))
    results = io.StringIO()
    show_outcome(run, Terminal(io.StringIO(), results))
    lines = results.getvalue().splitlines()
    assert lines[-1] == "runs/tiny/1"
    assert lines[-2].startswith("resume with: ")
    assert lines[-3] == "report: runs/tiny/1/report.html"
