"""Names are those of DSAT and of DeepSpeed; nothing given is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from det_files.autotune import dsat_names
from det_files.autotune.dsat_names import METRIC_NAMES, as_searched, is_dsat, with_dsat_names
from det_files.cluster.search import OPERATIONS


def test_metrics_have_both_names() -> None:
    measured = {"fwd": 1.0, "bwd": 2.0, "step": 3.0}
    given = copy.deepcopy(measured)
    assert with_dsat_names(measured) == measured | {"forward": 1.0, "backward": 2.0}
    assert measured == given
    assert with_dsat_names({}) == {}


@pytest.mark.skipif(not OPERATIONS, reason="Determined 0.38 has no determined.pytorch.dsat")
def test_the_names_are_dsats() -> None:
    from determined.pytorch.dsat import defaults

    searched = {*defaults.SMALLER_IS_BETTER_METRICS, *defaults.LARGER_IS_BETTER_METRICS}
    assert set(METRIC_NAMES.values()) <= searched
    assert searched - set(METRIC_NAMES.values()) == {"latency", "throughput", "FLOPS_per_gpu"}
    assert dsat_names.MODE_KEY == defaults.USE_DSAT_MODE_KEY


def test_the_names_are_deepspeeds() -> None:
    from deepspeed.runtime import engine

    assert set(METRIC_NAMES) == {engine.FORWARD_GLOBAL_TIMER, engine.BACKWARD_GLOBAL_TIMER}


@pytest.mark.parametrize("activations", [0, -5, None])
def test_a_search_begins_with_one_row_where_activations_were_not_seen(activations: Any) -> None:
    told = {"num_params": 7, "gpu_mem": 100}
    if activations is not None:
        told["activation_mem_per_gpu"] = activations
    given = copy.deepcopy(told)
    assert as_searched(told) == told | {"activation_mem_per_gpu": 100}
    assert told == given
    seen = told | {"activation_mem_per_gpu": 9}
    assert as_searched(seen) == seen
    assert as_searched({"fwd": 1.0}) == {"fwd": 1.0}


@pytest.mark.parametrize(
    ("hyperparameters", "searcher", "is_one"),
    [
        ({"_use_dsat_mode": True}, {"name": "custom"}, True),
        ({"_use_dsat_mode": True}, {"name": "single"}, False),
        ({"_use_dsat_mode": False}, {"name": "custom"}, False),
        ({}, {"name": "custom"}, False),
        ({}, {}, False),
    ],
)
def test_its_trials(hyperparameters: Any, searcher: Any, is_one: bool) -> None:
    assert is_dsat(hyperparameters, searcher) is is_one
