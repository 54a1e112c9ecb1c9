"""`metric_for_best_model`: that validations carry it, and that its direction is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from det_files.faults import Faults, did_you_mean
from det_files.training_arguments import SECTION


def check_best_metric(
    training: Mapping[str, Any], reported: Sequence[str], falling: Sequence[str], faults: Faults
) -> None:
    """Notes a metric that is never reported, or by which the worst checkpoint would be the best.

    Args:
        training: the resolved arguments.
        reported: what validations carry; empty without them.
        falling: those of them that are lower for a better model; losses may be left out.
        faults: where it is noted.
    """
    given = training.get("metric_for_best_model")
    if not isinstance(given, str) or not reported:
        return
    name = given if given.startswith("eval_") else f"eval_{given}"
    where = f"{SECTION}.metric_for_best_model"
    if name not in reported:
        hint = did_you_mean(name, reported)
        faults.add(where, f"{name} is not among {', '.join(reported)}{hint}")
    elif name in falling and training.get("greater_is_better") is None:
        # TrainingArguments takes every metric but those that end in "loss" for one that grows.
        reason = f"{given} falls as the model gets better: say greater_is_better: false"
        faults.add(f"{SECTION}.greater_is_better", reason)
