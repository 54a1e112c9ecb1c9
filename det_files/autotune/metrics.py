"""What a measuring trial reports, and when it does: names, arguments, what they demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from det_files.faults import Faults
from det_files.schema import show

THROUGHPUT = "throughput"  # non-padding tokens a second of all ranks, warm-up left out
SPREAD = "throughput_spread"  # its standard error over steps, tokens a second
PEAK_MEMORY = "peak_memory"  # bytes of the rank that has the most
MEASURED = (THROUGHPUT, PEAK_MEMORY)  # what a searcher may go by
REPORTED = (THROUGHPUT, SPREAD, PEAK_MEMORY)

SECTION = "hyperparameters.measuring_arguments"
TRAINING = "hyperparameters.training_arguments"
# A spread needs two steps.
FEWEST_STEPS = 2


@dataclass(frozen=True)
class MeasuringArguments:
    """How a trial is measured whose searcher goes by `throughput` or `peak_memory`."""

    warmup_steps: int = field(
        default=3,
        metadata={
            "minimum": 0,
            "help": "optimizer steps at the beginning that are not measured: the allocator grows, "
            "kernels are chosen and compiled",
        },
    )


def is_measured(searcher: Mapping[str, Any]) -> bool:
    """Whether the searcher goes by what a trial measures of itself, at its end.

    (DeepSpeed Autotune, whose searcher is `custom`, has a metric `throughput` of its own.)
    """
    return searcher.get("metric") in MEASURED and searcher.get("name") != "custom"


def check_measuring(
    given: Mapping[str, Any],
    searcher: Mapping[str, Any],
    training: Mapping[str, Any],
    faults: Faults,
) -> None:
    """Notes a measuring trial that would validate, or end before it is warm."""
    if not is_measured(searcher):
        if given:
            reason = f"has no effect unless searcher.metric is {' or '.join(MEASURED)}"
            faults.add(SECTION, reason)
        return
    if training.get("eval_strategy", "no") != "no":
        # A validation without the searcher's metric fails a whole experiment on a cluster.
        faults.add(
            f"{TRAINING}.eval_strategy",
            f"{searcher['metric']} is reported once, at the end, and no validation before it may "
            f'lack it: say "no", got {show(training["eval_strategy"])}',
        )
    if training.get("oom_backoff"):
        reason = "half of the rows would be measured in the name of all of them: leave it out"
        faults.add(f"{TRAINING}.oom_backoff", reason)
    steps, warmup = training.get("max_steps", -1), given.get("warmup_steps")
    warmup = MeasuringArguments.warmup_steps if not isinstance(warmup, int) else warmup
    if isinstance(steps, int) and 0 < steps < warmup + FEWEST_STEPS:
        faults.add(
            f"{TRAINING}.max_steps",
            f"expected at least {FEWEST_STEPS} more than measuring_arguments.warmup_steps "
            f"({warmup}), got {steps}",
        )
