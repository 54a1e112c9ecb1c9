"""The searcher section: keys, metric and length, alone and against the training arguments."""

import json
from pathlib import Path
from typing import Any

import pytest

from det_files.faults import Faults
from det_files.searcher import SEARCHERS, check_searcher, describe_rungs, reported_metrics

STEPS = {"eval_strategy": "steps", "max_steps": 100}
SINGLE = {"name": "single", "metric": "eval_loss"}
ASHA = {
    "name": "adaptive_asha",
    "metric": "eval_loss",
    "max_trials": 4,
    "max_time": 100,
    "time_metric": "batches",
}


def faults_of(searcher: dict[str, Any], **training: Any) -> list[str]:
    faults = Faults()
    check_searcher(searcher, STEPS | training, faults)
    return [str(fault) for fault in faults.found]


@pytest.mark.parametrize(
    "searcher",
    [
        SINGLE,
        SINGLE | {"max_length": {"batches": 100}, "smaller_is_better": None},
        SINGLE | {"max_length": 100, "metric": "eval_perplexity"},
        {"name": "random", "metric": "eval_loss", "max_trials": 3, "max_concurrent_trials": 0},
        {"name": "grid", "metric": "eval_token_accuracy", "smaller_is_better": False},
        ASHA | {"mode": "aggressive", "divisor": 4, "max_rungs": 3, "bracket_rungs": [1]},
        {k: v for k, v in ASHA.items() if "time" not in k} | {"max_length": {"batches": 100}},
        ASHA | {"name": "async_halving", "num_rungs": 2, "stop_once": True},
    ],
)
def test_sections_that_are_right(searcher: dict[str, Any]) -> None:
    assert faults_of(searcher) == []


@pytest.mark.parametrize(
    ("searcher", "fault"),
    [
        (SINGLE | {"name": "adaptive_ashe"}, "searcher.name: expected one of single, random, grid, "
         'adaptive_asha, async_halving, got "adaptive_ashe"; did you mean "adaptive_asha"?'),
        (SINGLE | {"metrik": 1}, 'searcher.metrik: unknown key; did you mean "metric"?'),
        (SINGLE | {"max_trials": 3}, "searcher.max_trials: belongs to random and adaptive_asha and "
         "async_halving; single has no such key"),
        (ASHA | {"num_rungs": 3}, "searcher.num_rungs: belongs to async_halving; adaptive_asha has "
         "no such key"),
        ({"name": "single"}, "searcher.metric: missing; single needs it"),
        (ASHA | {"max_trials": None}, "searcher.max_trials: missing; adaptive_asha needs it"),
        (ASHA | {"max_trials": 0}, "searcher.max_trials: expected >= 1, got 0"),
        (ASHA | {"divisor": 1}, "searcher.divisor: expected > 1, got 1.0"),
        (ASHA | {"mode": "agressive"}, "searcher.mode: expected one of aggressive, standard, "
         'conservative, got "agressive"; did you mean "aggressive"?'),
        (ASHA | {"max_time": None}, "searcher.max_time: missing; Determined 0.38 needs max_time "
         "and time_metric"),
        (ASHA | {"time_metric": "steps"}, "searcher.time_metric: expected one of batches, epochs, "
         'got "steps"'),
        (ASHA | {"max_time": 101}, "searcher.max_time: 101 batches are never reached: max_steps "
         "100"),
        (ASHA | {"max_time": 3, "time_metric": "epochs"}, "searcher.time_metric: max_steps (100) "
         "ends trials, perhaps before 3 epochs: say batches"),
        (ASHA | {"bracket_rungs": [1, 0]}, "searcher.bracket_rungs: expected whole numbers >= 1, "
         "got [1, 0]"),
        (ASHA | {"bracket_rungs": 2}, "searcher.bracket_rungs: expected list, got 2"),
        (SINGLE | {"metric": "eval_los"}, "searcher.metric: eval_los is not among eval_loss, "
         "eval_perplexity, eval_token_accuracy, batches, epochs; did you mean "
         '"eval_loss"?'),
        (SINGLE | {"max_length": {"batches": 50}}, "searcher.max_length.batches: 50 disagrees with "
         "training_arguments.max_steps (100)"),
        (SINGLE | {"max_length": {"epochs": 3}}, "searcher.max_length.epochs: 3 disagrees with the "
         "training arguments (max_steps 100, num_train_epochs 3)"),
        (SINGLE | {"max_length": {"batch": 3}}, "searcher.max_length: expected a whole number, or "
         'one under batches, epochs, records; got {"batch": 3}'),
        (SINGLE | {"max_length": "long"}, "searcher.max_length: expected a whole number, or one "
         'under batches, epochs, records; got "long"'),
    ],
)  # fmt: skip
def test_faults(searcher: dict[str, Any], fault: str) -> None:
    assert faults_of(searcher) == [fault]


@pytest.mark.parametrize("name", [None, 3, ["single"], {"a": 1}])
def test_a_name_of_another_type_hides_nothing_else(name: Any) -> None:
    found = faults_of({"name": name, "metric": "accuracy", "max_length": {"batches": 1}})
    assert [fault.split(":")[0] for fault in found] == [
        "searcher.name",
        "searcher.metric",
        "searcher.max_length.batches",
    ]


def test_a_metric_needs_an_evaluation() -> None:
    random = SINGLE | {"name": "random", "max_trials": 2}
    assert faults_of(random, eval_strategy="no") == [
        'searcher.metric: eval_loss is never reported: eval_strategy is "no"'
    ]
    # A single trial is compared with nothing.
    assert faults_of(SINGLE, eval_strategy="no") == []
    assert reported_metrics({"eval_strategy": "epoch"})[0] == "eval_loss"
    rouge = SINGLE | {"metric": "eval_rougeL", "smaller_is_better": False}
    assert faults_of(rouge, predict_with_generate=True) == []
    assert "eval_rougeL is not among" in faults_of(rouge)[0]


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("metric", ["eval_rouge1", "eval_bleu", "eval_token_accuracy"])
def test_a_metric_that_grows_says_so(name: str, metric: str) -> None:
    given = {"max_trials": 4, "num_rungs": 2, "max_time": 100, "time_metric": "batches"}
    allowed, _ = SEARCHERS[name]
    searcher = {"name": name, "metric": metric} | {k: v for k, v in given.items() if k in allowed}
    assert faults_of(searcher, predict_with_generate=True) == [
        f"searcher.smaller_is_better: {metric} grows as the model gets better: say "
        "smaller_is_better: false"
    ]
    for said in (False, True):
        assert faults_of(searcher | {"smaller_is_better": said}, predict_with_generate=True) == []


@pytest.mark.parametrize(
    ("length", "training", "right"),
    [
        ({"epochs": 2}, {"max_steps": -1, "num_train_epochs": 2.0}, True),
        ({"epochs": 3}, {"max_steps": -1}, True),
        ({"epochs": 2}, {"max_steps": -1, "num_train_epochs": 3.0}, False),
        ({"batches": 100}, {"max_steps": -1}, False),
    ],
)
def test_lengths(length: dict[str, int], training: dict[str, Any], right: bool) -> None:
    assert (faults_of(SINGLE | {"max_length": length}, **training) == []) == right


def test_epochs_that_are_never_reached() -> None:
    searcher = ASHA | {"time_metric": "epochs", "max_time": 4}
    assert faults_of(searcher, max_steps=-1, num_train_epochs=3.0) == [
        "searcher.max_time: 4 epochs are never reached: 3 are trained"
    ]


def test_names_and_keys_agree_with_determineds_schemas(shared: Path) -> None:
    for name, (allowed, required) in SEARCHERS.items():
        file = shared / "expconf" / "v0" / f"searcher-{name.replace('_', '-')}.json"
        schema = json.loads(file.read_text())
        assert allowed == set(schema["properties"]), name
        assert required <= set(schema["required"]) | set(schema["eventuallyRequired"])


def test_what_a_search_will_do_is_said() -> None:
    said = describe_rungs(ASHA | {"max_trials": 16})
    assert said == (
        "trials: 12 with rungs 6, 25, 100; 4 with rungs 25, 100. Every trial is validated at "
        "6, 25, 100 batches, too"
    )
    assert describe_rungs(SINGLE) == ""
