"""Simulated searches over known curves."""

import json
from pathlib import Path

import pytest

from benchmarks.asha import full_curves, simulate, simulations

SEARCHER = {
    "name": "adaptive_asha",
    "metric": "eval_loss",
    "max_trials": 16,
    "max_time": 64,
    "time_metric": "batches",
}


def test_trials_that_get_better_one_after_the_other_cost_the_most() -> None:
    better = [{4: 30.0 - n, 16: 20.0 - n, 64: 10.0 - n / 4} for n in range(16)]
    assert simulate(SEARCHER, better, 1).share == 1.0  # each is the best so far, and goes on
    worse = better[::-1]
    outcome = simulate(SEARCHER, worse, 1)
    # The first of each bracket goes to its end; the others stop at 4 (eleven) and at 16 (three).
    assert outcome.share == (2 * 64 + 11 * 4 + 3 * 16) / (16 * 64)
    assert (outcome.regret, outcome.stopped) == (0.0, 14)


def test_a_late_bloomer_is_lost_and_told() -> None:
    curves = [{4: 1.0 + n, 16: 1.0 + n, 64: 1.0 + n} for n in range(15)] + [
        {4: 99.0, 16: 99.0, 64: 0.5}
    ]
    outcome = simulate(SEARCHER, curves, 1)
    assert outcome.regret == 1.0  # 1.0 is twice 0.5
    shares = [o.share for o in simulations(SEARCHER, curves, 2, 20)]
    assert len(set(shares)) > 3 and all(0 < share < 1 for share in shares)


def write_run(directory: Path, validated: dict[int, float]) -> Path:
    """A run directory with one trial, as far as curves are read from it."""
    trial = directory / "trials" / "1"
    trial.mkdir(parents=True)
    searcher = json.dumps(SEARCHER)
    entrypoint = "python -m det_files.run_clm"
    text = f"name: run\nentrypoint: {entrypoint}\nsearcher: {searcher}\n"
    (directory / "experiment.yaml").write_text(text)
    summary = {"trials": [{"trial": 1, "params": {"r": 4}}]}
    (directory / "summary.json").write_text(json.dumps(summary))
    rows = [
        {
            "time": steps,
            "group": "validation",
            "steps_completed": steps,
            "metrics": {"eval_loss": value},
        }
        for steps, value in validated.items()
    ]
    (trial / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return directory


def test_curves_have_what_either_run_measured_and_lack_no_rung(tmp_path: Path) -> None:
    search = write_run(tmp_path / "search", {4: 3.0})
    full = write_run(tmp_path / "full", {16: 2.0, 64: 1.0})
    assert full_curves(full, search, "eval_loss") == [{4: 3.0, 16: 2.0, 64: 1.0}]
    sparse = write_run(tmp_path / "sparse", {64: 1.0})
    with pytest.raises(SystemExit, match=r"trial 1 of .*sparse was not validated at 16 steps.*=4"):
        full_curves(sparse, search, "eval_loss")
