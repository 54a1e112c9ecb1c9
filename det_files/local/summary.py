"""summary.json: what a run was, and what became of its trials.

    {experiment, searcher: {name, metric, smaller_is_better}, best_trial, slots, command,
     directory, started, ended, wall_seconds,
     trials: [{trial, hparams, state, steps_completed, final, best, best_checkpoint,
               latest_checkpoint, wall_seconds, restarts, oom_backoffs}]}

A search has more: {search: {max_trials, seed, study, best_experiment, time_metric, brackets:
[{rungs, trials}]}}, and of each trial {params, bracket, rungs: [{units, value, continues}],
stopped_at}; brackets and rungs where it stops trials.

`final` and `best` map metrics to numbers (null: NaN or infinite); `best` is the validation with the
best searcher metric and names its `steps_completed`. Checkpoints are named by their uuid. Times are
ISO 8601 in UTC; `wall_seconds` leaves out the time between a stop and its resumption. Keys that
other tools have added (`evaluation`) are kept. `oom_backoffs` counts the starts with a smaller
micro-batch, which are none of `restarts`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from det_files.local.metrics import best_row, final_metrics, numbers, read_rows
from det_files.local.run_directory import latest_checkpoint, whole_checkpoints
from det_files.oom_backoff import count_backoffs
from det_files.rungs import WORST, smaller_is_better
from det_files.trial_files import CONFIG_ERROR_FILE


class State(StrEnum):
    """What a trial is at, or how it ended."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"  # asked to stop, checkpoint saved
    KILLED = "KILLED"  # stopped on request, without a checkpoint of that moment
    ERROR = "ERROR"


@dataclass
class Trial:
    """One trial and its accounts; `wall_seconds` and `restarts` go on over resumptions."""

    number: int
    directory: Path
    hparams: dict[str, Any]
    state: State = State.RUNNING
    restarts: int = 0
    wall_seconds: float = 0.0
    search: dict[str, Any] = field(default_factory=dict)  # what a search adds to the entry

    @property
    def hit_config_error(self) -> bool:
        """Whether the trial itself has found a fault of the configuration."""
        return (self.directory / CONFIG_ERROR_FILE).exists()

    def summary(self, metric: str, smaller_is_better: bool) -> dict[str, Any]:
        """Returns the trial's entry of summary.json, from its files as they are now."""
        rows = read_rows(self.directory / "metrics.jsonl")
        checkpoints = whole_checkpoints(self.directory)
        latest = latest_checkpoint(self.directory)
        best = best_row(rows, metric, smaller_is_better)
        of_best = [c.uuid for c in checkpoints if best and c.steps_completed == best.steps]
        steps = max([row.steps for row in rows] + [c.steps_completed for c in checkpoints] + [0])
        return {
            "trial": self.number,
            "hparams": without_secrets(self.hparams),
            "state": str(self.state),
            "steps_completed": steps,
            "final": final_metrics(rows),
            "best": numbers(best) | {"steps_completed": best.steps} if best else {},
            "best_checkpoint": of_best[-1] if of_best else None,
            "latest_checkpoint": latest.uuid if latest else None,
            "wall_seconds": round(self.wall_seconds, 3),
            "restarts": self.restarts,
            "oom_backoffs": count_backoffs(self.directory),
            **without_secrets(self.search),
        }


def describe_searcher(searcher: dict[str, Any]) -> dict[str, Any]:
    """Returns the searcher's name, metric and direction, with Determined's defaults."""
    return {
        "name": searcher.get("name", "single"),
        "metric": searcher.get("metric", "eval_loss"),
        "smaller_is_better": smaller_is_better(searcher),
    }


def update_summary(
    previous: dict[str, Any], trials: Sequence[Trial], facts: dict[str, Any]
) -> dict[str, Any]:
    """Returns summary.json's next content.

    Args:
        previous: Its present content, {} for a new run.
        trials: All trials of the run.
        facts: What else has changed: `experiment`, `searcher`, `slots`, `command`, `ended`,
            `wall_seconds`, …
    """
    summary = {"started": now(), **previous, **facts}
    searcher = summary["searcher"]
    metric, smaller = searcher["metric"], searcher["smaller_is_better"]
    known = {entry["trial"]: entry for entry in previous.get("trials", [])}
    entries = [known.get(t.number, {}) | t.summary(metric, smaller) for t in trials]
    return summary | {
        "best_trial": best_trial(entries, metric, smaller),
        "trials": entries,
    }


def best_trial(entries: Sequence[dict[str, Any]], metric: str, smaller: bool) -> int | None:
    """Returns the number of the trial with the best `metric`; an only trial is the best one.

    Of several, one must have completed, with a number.
    """
    if len(entries) == 1:
        return entries[0]["trial"]
    completed = [entry for entry in entries if entry["state"] == State.COMPLETED]
    values = [(entry["best"].get(metric), entry["trial"]) for entry in completed]
    measured = [(v, trial) for v, trial in values if v is not None and abs(v) < WORST]
    if not measured:
        return None
    sign = 1 if smaller else -1
    return min(measured, key=lambda pair: (sign * pair[0], pair[1]))[1]


def now() -> str:
    """Returns the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


# Names of values that open doors. "eos_token" and "max_tokens" open none.
SECRET_NAME = (
    r"(?:\w*_)?(?:secret|password|passwd|credentials?|(?:api|access|secret|private)_?key)"
    r"|(?:\w*_)?(?:hf|hub|auth|access|api|bearer|huggingface|wandb)_token|token"
)
_SECRET_KEY = re.compile(rf"(?i){SECRET_NAME}")
_SECRET_ASSIGNMENT = re.compile(rf"(?i)\b({SECRET_NAME})(\s*[=:]\s*)([^\s,\]}}]+)")
HIDDEN = "***"


def without_secrets(value: Any) -> Any:
    """Returns a copy of nested settings in which the values of secret names are "***"."""
    if isinstance(value, dict):
        return {
            key: HIDDEN
            if isinstance(inner, str) and _SECRET_KEY.fullmatch(str(key))
            else without_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str):
        return _SECRET_ASSIGNMENT.sub(rf"\1\2{HIDDEN}", value)
    return value
