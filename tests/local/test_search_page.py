"""The report of a search, as a browser would read it."""

from typing import Any

import pytest

from det_files.local.report import render_report, write_report
from det_files.local.run_directory import RunDirectory

from .searches import entry, halved, summary_of, validations
from .test_report import Page

RUNGS = [6, 25, 100]
TRIALS = [
    halved(1, [2.5, 2.0, 1.5], RUNGS),
    halved(2, [2.75], RUNGS),
    halved(3, [None], RUNGS, bracket=1),
    entry(4, None, state="QUEUED", steps_completed=0, bracket=0),
]
SEARCH = {
    "max_trials": 16,
    "study": "study.db",
    "best_experiment": "best_experiment.yaml",
    "brackets": [{"rungs": RUNGS, "trials": 3}, {"rungs": [25, 100], "trials": 1}],
}


def page_of(summary: dict[str, Any], **rows: Any) -> Page:
    reported = {t["trial"]: rows.get(f"t{t['trial']}", []) for t in summary["trials"]}
    return Page(render_report(summary, reported, "/runs/tiny/1"))


def test_a_halving_search_has_all_sections() -> None:
    page = page_of(summary_of(TRIALS, **SEARCH), t1=validations({6: 2.5, 100: 1.5}))
    assert list(page.pictures) == [
        "Trials in order",
        "Hyperparameters together",
        "Rungs",
        "Hyperparameters one by one",
        "Evaluation loss",
    ]
    assert "1.5000" in page.texts and "trial 1, at step 90" in page.texts
    assert "4 of 16" in page.texts
    assert "1 completed, 1 stopped early, 1 failed, 1 queued" in page.texts
    assert "2 completed" in page.texts and "1 queued" in page.texts
    run = page.tables[-1]
    assert ["Bracket 0", "3 trials, batches: 6, 25, 100"] in run
    assert ["Study", "study.db"] in run
    assert ["Seed of the search", "7"] in run
    assert ["Latest checkpoint, trial 1", "checkpoint-1"] in run
    assert not any(cells[0] == "Latest checkpoint, trial 2" for cells in run)


def test_the_table_shows_standing_bracket_and_searched_hyperparameters_only() -> None:
    page = page_of(summary_of(TRIALS, **SEARCH))
    head, *body = page.tables[0]
    assert head == (
        ["Trial", "State", "Bracket", "Best eval_loss", "learning_rate", "At step", "Steps", "Time"]
    )
    assert body[0] == ["1", "completed", "0", "1.5000", "1e-4", "90", "100", "1m05s"]
    assert [line[0] for line in body] == ["1", "2", "3", "4"]
    assert [line[1] for line in body] == ["completed", "stopped at 6", "error", "queued"]
    assert page.marked[0] == "1"


def test_the_direction_turns_the_table() -> None:
    trials = [entry(1, 0.5), entry(2, 0.75), entry(3, 0.25)]
    page = page_of(summary_of(trials, smaller=False))
    assert [line[0] for line in page.tables[0][1:]] == ["2", "1", "3"]
    assert "Rungs" not in page.pictures
    assert "Bracket" not in page.tables[0][0]
    assert any("larger is better" in text for text in page.texts)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [entry(1, None, state="ERROR"), entry(2, None, state="ERROR")],
        [entry(1, 1.5)],
        [entry(1, 1.5, {}), entry(2, 2.5, {"a.b": None})],
        [{"trial": 1, "state": "QUEUED", "hparams": {}, "final": {}, "best": {}}],
    ],
)
def test_searches_of_every_kind_are_pages(trials: list[dict[str, Any]]) -> None:
    for trial in trials:
        trial.setdefault("steps_completed", 0)
    page = page_of(summary_of(trials))
    assert page.foreign == []
    assert "tiny" in page.texts


def test_of_failed_trials_none_is_called_the_best() -> None:
    trials = [entry(n, None, state="ERROR", final={"loss": 2.0}) for n in (1, 2)]
    page = page_of(summary_of(trials))
    assert "no trial has been measured" in page.texts
    assert "Metrics of trial 1" in page.texts


def test_a_trial_that_has_not_started_gets_no_directory(tmp_path) -> None:
    run = RunDirectory(tmp_path)
    run.write_summary(summary_of(TRIALS, **SEARCH))
    write_report(run)
    assert run.report_file.exists()
    assert not (tmp_path / "trials").exists()
