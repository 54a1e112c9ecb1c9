"""A measuring trial reports once, at its end: tokens over time behind warm-up, spread, memory."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from conftest import RunTrial
from det_files.autotune.measuring import rate


def test_the_rate_is_all_tokens_over_all_time() -> None:
    assert rate([10.0, 30.0], [1.0, 3.0]) == (10.0, 0.0)
    assert rate([10.0, 30.0], [1.0, 1.0])[0] == 20.0
    assert rate([5.0], [2.0]) == (2.5, 0.0)


def test_the_spread_is_that_of_many_trials() -> None:
    """The standard error of one trial's rate is how much the rates of many trials differ."""
    rng, rates, errors = random.Random(0), [], []
    for _ in range(400):
        amounts = [rng.uniform(500, 1500) for _ in range(20)]
        seconds = [amount / 100 * rng.gauss(1, 0.1) for amount in amounts]
        speed, error = rate(amounts, seconds)
        rates.append(speed)
        errors.append(error)
    assert statistics.mean(errors) == pytest.approx(statistics.stdev(rates), rel=0.15)


@pytest.mark.parametrize("metric", ["throughput", "peak_memory"])
def test_a_trial_reports_one_row_at_its_end(
    run_experiment_trial: Any, tmp_path: Path, metric: str
) -> None:
    trial = run_experiment_trial(tmp_path, metric, steps=6, warmup=2)
    assert trial.code == 0, trial.output[-4000:]
    (row,) = trial.rows("validation")
    assert row["steps_completed"] == 6
    found = row["metrics"]
    assert found.keys() == {"throughput", "throughput_spread", "peak_memory", "batches", "epochs"}
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    training = trial.rows("training")
    assert found["peak_memory"] == max(r["metrics"]["peak_memory_bytes"] for r in training)
    # Rows of one length: the rate lies among those of its steps, the first two left out.
    speeds = [row["metrics"]["tokens_per_second"] for row in training[2:]]
    assert min(speeds) * 0.8 < found["throughput"] < max(speeds) * 1.2
    assert not any((trial.directory / "checkpoints").glob("*"))


@pytest.fixture(scope="module")
def run_experiment_trial(tmp_path_factory: Any, tiny_overrides: dict[str, Any]) -> Any:
    """Runs an experiment file whose searcher measures, on the tiny model with two ranks."""
    from conftest import Trial, launch, set_arguments

    def run(directory: Path, metric: str, steps: int, warmup: int) -> Trial:
        growing = ", smaller_is_better: false" if metric == "throughput" else ""
        experiment = directory / "measured.yaml"
        experiment.write_text(
            f"searcher: {{name: single, metric: {metric}{growing}}}\n"
            "hyperparameters: {deepspeed_config: ds_configs/ds_config_stage_2.json}\n"
            "entrypoint: python -m det_files.run_clm\n"
        )
        overrides = tiny_overrides | {
            "training_arguments__max_steps": steps,
            "training_arguments__eval_strategy": "no",
            "training_arguments__save_strategy": "no",
            "measuring_arguments__warmup_steps": warmup,
        }
        arguments = ["--experiment", str(experiment), "--trial_dir", str(directory / "trial")]
        arguments += set_arguments(overrides)
        done = launch(2, ["-m", "det_files.run_clm", *arguments], 240)
        return Trial(directory / "trial", done.returncode, done.stdout)

    return run


def test_without_such_a_metric_nothing_is_measured(tmp_path: Path, run_trial: RunTrial) -> None:
    trial = run_trial(tmp_path / "trial", training_arguments__max_steps=2)
    assert trial.code == 0, trial.output[-4000:]
    assert all("throughput" not in row["metrics"] for row in trial.rows("validation"))
