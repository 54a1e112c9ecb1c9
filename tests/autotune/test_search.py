"""The search in a run directory: a run that is killed anywhere goes on as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from det_files.autotune.plan import _derive
from det_files.autotune.search import AutotuneSearch
from det_files.autotune.space import Axes, Candidate
from det_files.autotune.strategy import Space
from det_files.experiment import load_experiment
from det_files.local.run_directory import RunDirectory
from det_files.local.summary import State, Trial, update_summary
from det_files.validate import check_experiment

AXES = Axes((1, 2, 3), ("none",), (False, True), (None,), (1, 2, 4, 8))
FACTS = {"searcher": {"metric": "throughput", "smaller_is_better": False}}
FITS = 4


@pytest.fixture(scope="module")
def derive() -> Any:
    experiment = load_experiment(ROOT / "experiments/smollm2_135m_ds2.yaml")
    args = check_experiment(experiment, context=ROOT)
    asked = {"metric": "throughput", "steps": 4, "warmup_steps": 1}
    return lambda candidate: _derive(experiment, args, asked, candidate)


def open_search(run: RunDirectory, derive: Any, **more: Any) -> AutotuneSearch:
    return AutotuneSearch(run, Space(AXES.candidates(1, None)), derive, "throughput", 12, **more)


def speed(candidate: Candidate) -> float:
    return 100.0 * candidate.combination.stage + 10 * candidate.micro_batch


def measure(search: AutotuneSearch, trial: Trial) -> None:
    """What a trial writes: its measurement, or that memory was too small."""
    candidate = search.candidate_of(trial)
    if candidate.micro_batch > FITS:
        (trial.directory / "out_of_memory").write_text("")
        return
    row = {"time": 0.0, "group": "validation", "steps_completed": 5}
    row["metrics"] = {"throughput": speed(candidate), "throughput_spread": 1.0}
    (trial.directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")


def end(search: AutotuneSearch, trial: Trial) -> None:
    fits = search.candidate_of(trial).micro_batch <= FITS
    trial.state = State.COMPLETED if fits else State.ERROR
    search.ended(trial)


def write(run: RunDirectory, search: AutotuneSearch) -> None:
    run.write_summary(update_summary(run.read_summary(), search.trials(), FACTS))


def told(search: AutotuneSearch) -> list[tuple[str, str]]:
    return [(str(result.candidate), result.outcome) for result in search.results()]


def test_killed_anywhere_it_goes_on(tmp_path: Path, derive: Any) -> None:
    whole = open_search(RunDirectory(tmp_path / "whole"), derive)
    while (trial := whole.next_trial()) is not None:
        measure(whole, trial)
        end(whole, trial)
    assert whole.is_over and len(told(whole)) <= 12
    assert {"measured", "out of memory"} == {outcome for _, outcome in told(whole)}

    # The runner dies at three moments: before a trial has measured, after it has, after it ended.
    run = RunDirectory(tmp_path / "killed")
    run.path.mkdir()
    search, moment = open_search(run, derive), 0
    while (trial := search.next_trial()) is not None:
        write(run, search)
        moment += 1
        if moment % 3 == 0:
            search = open_search(run, derive)
            again = search.next_trial()
            assert again is not None and again.number == trial.number
            trial = again
        measure(search, trial)
        if moment % 3 == 1 and search.candidate_of(trial).micro_batch <= FITS:
            search = open_search(run, derive)
            assert len(search.results()) == trial.number
            write(run, search)
            continue
        end(search, trial)
        write(run, search)
        if moment % 3 == 2:
            search = open_search(run, derive)
    assert told(search) == told(whole)


def test_a_grid_has_every_candidate_once(tmp_path: Path, derive: Any) -> None:
    space = Space(AXES.candidates(1, None))
    run = RunDirectory(tmp_path)
    search = AutotuneSearch(run, space, derive, "throughput", 24, grid=True)
    while (trial := search.next_trial()) is not None:
        measure(search, trial)
        end(search, trial)
    assert [r.candidate for r in search.results()] == list(space.candidates)


def test_what_the_log_says_of_memory_counts(tmp_path: Path, derive: Any) -> None:
    search = open_search(RunDirectory(tmp_path), derive)
    trial = search.next_trial()
    assert trial is not None
    text = "[rank0] RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to"
    (trial.directory / "log.txt").write_text(text + "\n")
    trial.state = State.ERROR
    search.ended(trial)
    assert [result.outcome for result in search.results()] == ["out of memory"]
    other = search.next_trial()
    assert other is not None
    (other.directory / "log.txt").write_text("ValueError: something else\n")
    other.state = State.ERROR
    search.ended(other)
    assert [result.outcome for result in search.results()][-1] == "failed"
