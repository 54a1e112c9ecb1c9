"""Names of Determined's DeepSpeed Autotune (DSAT, up to 0.37) beside those of DeepSpeed.

DSAT was written for DeepSpeed 0.8. The metrics and hyperparameters that it reads and writes are in
`determined/pytorch/dsat/{defaults,_utils,_dsat_search_method}.py` of the wheel of 0.37.0, and
DeepSpeed's in `runtime/engine.py` of 0.19.8 (`_autotuning_exit`, `_get_model_parameters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# DeepSpeed's name -> DSAT's, of the same microseconds a step. All others are the same in both.
METRIC_NAMES = {"fwd": "forward", "bwd": "backward"}
# Set in the hyperparameters of DSAT's trials; it says nothing to us.
MODE_KEY = "_use_dsat_mode"
SEARCHER = "custom"
# Of the model's profile, in bytes.
DEVICE_MEMORY = "gpu_mem"
ACTIVATION_MEMORY = "activation_mem_per_gpu"


def is_dsat(hyperparameters: Mapping[str, Any], searcher: Mapping[str, Any]) -> bool:
    """True for a trial that `python -m determined.pytorch.dsat` has made."""
    return bool(hyperparameters.get(MODE_KEY)) and searcher.get("name") == SEARCHER


def with_dsat_names(measured: Mapping[str, float]) -> dict[str, float]:
    """A new mapping: the metrics, those whose names differ under DSAT's name too."""
    twice = {METRIC_NAMES[name]: v for name, v in measured.items() if name in METRIC_NAMES}
    return twice | dict(measured)


def as_searched(measured: Mapping[str, float]) -> dict[str, float]:
    """What DSAT's search is told, in a new mapping.

    It divides the memory that is free by that of one row's activations. Where DeepSpeed has seen
    none (on a CPU it compares the resident set before and after), the search begins with one row.
    """
    told = dict(measured)
    if DEVICE_MEMORY in told and told.get(ACTIVATION_MEMORY, 0) <= 0:
        told[ACTIVATION_MEMORY] = told[DEVICE_MEMORY]
    return told
