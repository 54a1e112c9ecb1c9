"""How long a search's trials train, beside what its searcher takes for granted: rungs are reached,
and not in the warm-up.

Training arguments are taken as the file has them: of a range that is searched, both ends count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from det_files.faults import Faults
from det_files.hyperparameters import is_hyperparameter, representatives
from det_files.rungs import decision_points, time_metric
from det_files.schema import show

TIME_METRICS = ("batches", "epochs")
_UNITS = (*TIME_METRICS, "records")  # of a max_length, which 0.37 asks for
_WARMUP = "hyperparameters.training_arguments.warmup_steps"


@dataclass(frozen=True)
class _Values:
    """The least and the greatest of what an argument may be."""

    low: float
    high: float

    def __str__(self) -> str:
        ends = [str(end) if isinstance(end, int) else f"{end:g}" for end in (self.low, self.high)]
        return ends[0] if self.low == self.high else " to ".join(ends)

    def are(self, value: float) -> bool:
        return self.low == self.high == value


def _values(training: Mapping[str, Any], name: str, default: float) -> _Values | None:
    """What the argument may be; None where that is no number, which is noted elsewhere."""
    found = [value for _, value in representatives(training.get(name, default))]
    if not found or not all(type(value) in (int, float) for value in found):
        return None
    return _Values(min(found), max(found))


def with_ranges(training: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Resolved training arguments, with each range that is searched as it was given."""
    return dict(training) | {key: arg for key, arg in given.items() if is_hyperparameter(arg)}


def check_length(searcher: Mapping[str, Any], training: Mapping[str, Any], faults: Faults) -> None:
    """Notes lengths that disagree with the training arguments, and rungs that are not reached."""
    steps = _values(training, "max_steps", -1)
    epochs = _values(training, "num_train_epochs", 3.0)
    if steps is None or epochs is None:
        return  # noted already
    length = searcher.get("max_length")
    if isinstance(length, int):
        length = {"batches": length}
    if length is not None and not _is_length(length):
        expected = f"expected a whole number, or one under {', '.join(_UNITS)}"
        faults.add("searcher.max_length", f"{expected}; got {show(length)}")
    if isinstance(length, Mapping):
        _check_max_length(length, steps, epochs, faults)
    limit, unit = searcher.get("max_time"), searcher.get("time_metric")
    if not isinstance(limit, int):
        return
    if unit == "batches" and 0 < steps.low < limit:
        reason = f"{limit} batches are {_never(steps, limit)} reached: max_steps {steps}"
        faults.add("searcher.max_time", reason)
    if unit == "epochs" and steps.high <= 0 and epochs.low < limit:
        reason = f"{limit} epochs are {_never(epochs, limit)} reached: {epochs} are trained"
        faults.add("searcher.max_time", reason)
    if unit == "epochs" and steps.high > 0:
        # A trial that ends before its last rung is neither stopped nor replaced.
        reason = f"max_steps ({steps}) ends trials, perhaps before {limit} epochs: say batches"
        faults.add("searcher.time_metric", reason)


def _never(values: _Values, limit: int) -> str:
    return "never" if values.high < limit else "not always"


def _is_length(length: Any) -> bool:
    if not isinstance(length, Mapping) or len(length) != 1:
        return False
    ((unit, number),) = length.items()
    return unit in _UNITS and type(number) is int and number > 0


def _check_max_length(
    length: Mapping[str, Any], steps: _Values, epochs: _Values, faults: Faults
) -> None:
    batches = length.get("batches")
    if batches is not None and not steps.are(batches):
        said = steps if steps.high > 0 else "not set"
        faults.add(
            "searcher.max_length.batches",
            f"{batches} disagrees with training_arguments.max_steps ({said})",
        )
    whole = length.get("epochs")
    if whole is not None and (steps.high > 0 or not epochs.are(whole)):
        faults.add(
            "searcher.max_length.epochs",
            f"{whole} disagrees with the training arguments "
            f"(max_steps {steps}, num_train_epochs {epochs})",
        )


def warn_of_warmup(
    searcher: Mapping[str, Any], training: Mapping[str, Any], warnings: list[str]
) -> None:
    """Warns where trials may be decided upon before they are warm. The section must be right."""
    points, unit = decision_points(searcher), time_metric(searcher)
    warmup, steps = _values(training, "warmup_steps", 0), _values(training, "max_steps", -1)
    if not points or unit != "batches" or warmup is None or steps is None:
        return
    longest, said = warmup.high, f"{warmup}"
    if 0 < longest < 1 and steps.high > 0:  # a share of all steps (transformers)
        longest = math.ceil(longest * steps.high)
        said = f"{warmup} of max_steps {steps}"
    if longest > points[0]:
        verb = "is" if warmup.low == warmup.high else "may be"
        warnings.append(
            f"{_WARMUP}: {said} {verb} longer than the first rung ({points[0]} batches), which "
            "then judges trials by their warm-up"
        )
