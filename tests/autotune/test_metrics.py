"""Searchers by throughput and peak memory: what they demand of an experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT
from det_files.autotune.metrics import is_measured
from det_files.experiment import load_experiment
from det_files.faults import ConfigError
from det_files.validate import check_experiment

THROUGHPUT = "{name: random, metric: throughput, smaller_is_better: false, max_trials: 2}"
NO_VALIDATION = 'hyperparameters.training_arguments.eval_strategy="no"'


def faults(*overrides: str) -> str:
    experiment = load_experiment(ROOT / "experiments/smollm2_135m_ds2.yaml", overrides)
    try:
        check_experiment(experiment, context=ROOT)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "searcher",
    [
        THROUGHPUT,
        "{name: grid, metric: peak_memory}",
        "{name: single, metric: throughput, smaller_is_better: false}",
    ],
)
def test_they_are_valid_without_validations(searcher: str) -> None:
    assert faults(f"searcher={searcher}", NO_VALIDATION) == ""


def test_a_validation_before_the_end_is_refused() -> None:
    assert "training_arguments.eval_strategy: throughput is reported once" in faults(
        f"searcher={THROUGHPUT}"
    )


def test_half_of_the_rows_are_not_measured_for_all() -> None:
    found = faults(
        f"searcher={THROUGHPUT}",
        NO_VALIDATION,
        "hyperparameters.training_arguments.oom_backoff=true",
    )
    assert "training_arguments.oom_backoff: half of the rows would be measured" in found


def test_deepspeed_autotune_has_a_throughput_of_its_own() -> None:
    assert is_measured({"name": "random", "metric": "throughput"})
    assert not is_measured({"name": "custom", "metric": "throughput"})


def test_more_is_better() -> None:
    found = faults("searcher={name: random, metric: throughput, max_trials: 2}", NO_VALIDATION)
    assert "searcher.smaller_is_better: throughput grows" in found


def test_halving_is_refused() -> None:
    asha = "{name: adaptive_asha, metric: peak_memory, max_trials: 4, max_time: 100"
    found = faults(f"searcher={asha}, time_metric: batches}}", NO_VALIDATION)
    assert "searcher.name: peak_memory is reported once" in found


def test_a_trial_must_outlast_its_warm_up() -> None:
    short = "hyperparameters.training_arguments.max_steps=4"
    assert "training_arguments.max_steps: expected at least 2 more" in faults(
        f"searcher={THROUGHPUT}", NO_VALIDATION, short
    )
    shorter = "hyperparameters.measuring_arguments.warmup_steps=2"
    assert faults(f"searcher={THROUGHPUT}", NO_VALIDATION, short, shorter) == ""


def test_measuring_arguments_without_such_a_metric_have_no_effect() -> None:
    given = "hyperparameters.measuring_arguments.warmup_steps=2"
    assert "measuring_arguments: has no effect" in faults(given)
    wrong = "hyperparameters.measuring_arguments.warmup_step=2"
    assert 'did you mean "warmup_steps"' in faults(f"searcher={THROUGHPUT}", NO_VALIDATION, wrong)


def test_preferences_are_not_measured(tmp_path: Path) -> None:
    path = ROOT / "experiments/smollm2_135m_dpo.yaml"
    experiment = load_experiment(path, [f"searcher={THROUGHPUT}", NO_VALIDATION])
    with pytest.raises(ConfigError, match=r"searcher\.metric"):
        check_experiment(experiment, context=ROOT)
