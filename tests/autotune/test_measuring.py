"""A measuring trial reports once, at its end: tokens over time behind warm-up, spread, memory."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState

from conftest import RunTrial
from det_files.autotune.measuring import Measuring, rate


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


class Meter:
    """A clock that stands at `seconds` and has counted `tokens`."""

    def __init__(self) -> None:
        self.seconds, self.tokens = 0.0, 0.0

    def mark(self) -> tuple[float, torch.Tensor]:
        return self.seconds, torch.tensor([self.tokens])


@pytest.mark.parametrize(
    ("warmup", "steps", "speed", "measured"),
    [
        (0, 4, (4 * 100 + 4 * 60) / (10 + 2 + 1 + 1), 4),
        (2, 4, 2 * 160 / 2, 2),  # what is slow at the beginning is left out
        (1, 4, 3 * 160 / 4, 3),
        (3, 3, 2 * 160 / 3, 2),  # a resumed trial with few steps left measures its last two
    ],
)
def test_steps_of_warmup_are_left_out(
    warmup: int, steps: int, speed: float, measured: int, caplog: pytest.LogCaptureFixture
) -> None:
    """This rank's 100 tokens a step and the other's 60, 10 seconds for the first step, 2, 1, 1."""
    meter, reported = Meter(), list[dict[str, float]]()

    def both(mine: dict[str, Any]) -> list[dict[str, Any]]:
        other = {"seconds": mine["seconds"], "tokens": [60.0] * len(mine["tokens"])}
        return [mine, other | {"peak": mine["peak"] + 5}]

    distributed: Any = SimpleNamespace(allgather=both)
    trainer: Any = SimpleNamespace(meter=meter)
    measuring = Measuring(
        trainer, distributed, warmup, lambda args, state, control, found: reported.append(found)
    )
    args: Any = SimpleNamespace(device=torch.device("cpu"))
    state, control = TrainerState(max_steps=steps), TrainerControl()
    measuring.on_train_begin(args, state, control)
    with caplog.at_level("INFO"):
        for step, seconds in enumerate((10.0, 2.0, 1.0, 1.0)[:steps], 1):
            meter.seconds, meter.tokens = meter.seconds + seconds, meter.tokens + 100
            state.global_step = step
            assert not reported
            measuring.on_step_end(args, state, control)
    (found,) = reported
    assert found["throughput"] == pytest.approx(speed)
    assert f"measured over {measured} steps" in caplog.text


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
