"""Lengths of trials whose arguments are searched: every draw counts, and ranges are named."""

from pathlib import Path
from typing import Any

import pytest

from det_files.experiment import load_experiment
from det_files.faults import Faults
from det_files.trial_lengths import check_length, warn_of_warmup, with_ranges
from det_files.validate import check_experiment

ROOT = Path(__file__).resolve().parents[1]
ASHA = {
    "name": "adaptive_asha",
    "metric": "eval_loss",
    "max_trials": 16,
    "max_time": 64,
    "time_metric": "batches",
}
TO_100 = {"type": "int", "minval": 40, "maxval": 100}
TO_50 = {"type": "int", "minval": 40, "maxval": 50}


@pytest.mark.parametrize(
    ("searcher", "training", "faults"),
    [
        (ASHA, {"max_steps": TO_100},
         ["searcher.max_time: 64 batches are not always reached: max_steps 40 to 100"]),
        (ASHA, {"max_steps": TO_50},
         ["searcher.max_time: 64 batches are never reached: max_steps 40 to 50"]),
        (ASHA, {"max_steps": {"type": "categorical", "vals": [64, 128]}}, []),
        (ASHA, {"max_steps": {"type": "const", "val": 46}},
         ["searcher.max_time: 64 batches are never reached: max_steps 46"]),
        (ASHA | {"time_metric": "epochs", "max_time": 2},
         {"num_train_epochs": {"type": "double", "minval": 1.5, "maxval": 3}},
         ["searcher.max_time: 2 epochs are not always reached: 1.5 to 3 are trained"]),
        (ASHA | {"time_metric": "epochs", "max_time": 2}, {"max_steps": TO_50},
         ["searcher.time_metric: max_steps (40 to 50) ends trials, perhaps before 2 epochs: "
          "say batches"]),
        ({"name": "random", "max_length": {"batches": 40}}, {"max_steps": TO_50},
         ["searcher.max_length.batches: 40 disagrees with training_arguments.max_steps "
          "(40 to 50)"]),
    ],
)  # fmt: skip
def test_rungs_are_reached_by_every_draw(
    searcher: dict[str, Any], training: dict[str, Any], faults: list[str]
) -> None:
    found = Faults()
    check_length(searcher, training, found)
    assert [str(fault) for fault in found.found] == faults


@pytest.mark.parametrize(
    ("warmup", "said"),
    [
        ({"type": "int", "minval": 0, "maxval": 8}, "0 to 8 may be"),
        (8, "8 is"),
        (0.25, "0.25 of max_steps 64 is"),
        ({"type": "int", "minval": 0, "maxval": 4}, ""),
        (0.05, ""),
    ],
)
def test_a_warm_up_beyond_the_first_rung_is_warned_of(warmup: Any, said: str) -> None:
    warnings: list[str] = []
    warn_of_warmup(ASHA, {"max_steps": 64, "warmup_steps": warmup}, warnings)
    where = "hyperparameters.training_arguments.warmup_steps"
    rest = "longer than the first rung (4 batches), which then judges trials by their warm-up"
    assert warnings == ([f"{where}: {said} {rest}"] if said else [])


def test_without_rungs_there_is_nothing_to_warn_of() -> None:
    warnings: list[str] = []
    warn_of_warmup({"name": "random", "max_trials": 3}, {"warmup_steps": 8}, warnings)
    warn_of_warmup(ASHA | {"time_metric": "epochs"}, {"warmup_steps": 80}, warnings)
    assert warnings == []


def test_ranges_stay_as_they_were_given() -> None:
    given = {"max_steps": TO_50, "warmup_steps": 3}
    assert with_ranges({"max_steps": 46, "seed": 1}, given) == {"max_steps": TO_50, "seed": 1}


def test_an_experiment_is_checked_with_its_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = Path("experiments/smollm2_135m_asha.yaml")
    experiment = load_experiment(path)
    check_experiment(experiment)
    (warning,) = experiment.warnings
    assert "warmup_steps: 0 to 8 may be longer than the first rung (4 batches)" in warning
    steps = "hyperparameters.training_arguments.max_steps={type: int, minval: 40, maxval: 100}"
    with pytest.raises(Exception, match="not always reached: max_steps 40 to 100"):
        check_experiment(load_experiment(path, [steps]))
