"""The trials of a search as rows: how each stands, in what order, and how values are written.

Knows neither the terminal nor the report; both show these rows.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from det_files.local.metrics import best_row
from det_files.local.progress import Progress, eta_seconds
from det_files.local.summary import State

QUEUED = "QUEUED"  # decided upon by the searcher, not yet started


@dataclass(frozen=True)
class Rung:
    """A trial's standing at a rung.

    `units` are of the search's time metric; `value` is None where the trial failed or measured
    NaN, which counts as the worst.
    """

    units: float
    value: float | None
    continues: bool


@dataclass(frozen=True)
class TrialRow:
    """One trial of a search.

    `params` are the searched hyperparameters by dotted path; `metric` is the searcher's metric at
    the last validation and `best` its best value, None where there is none; times in seconds.
    `stopped_at` is the rung (in units of the time metric) at which the searcher ended the trial.
    """

    number: int
    state: str
    params: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    max_steps: int | None = None
    metric: float | None = None
    best: float | None = None
    tokens_per_second: float | None = None
    eta_s: float | None = None
    wall_s: float = 0.0
    bracket: int | None = None
    stopped_at: float | None = None
    restarts: int = 0
    rungs: tuple[Rung, ...] = ()

    @property
    def runs(self) -> bool:
        return self.state == State.RUNNING

    @property
    def failed(self) -> bool:
        """Whether it died, or ended without a value that it could be compared by."""
        return self.state == State.ERROR or (self.state == State.COMPLETED and self.best is None)

    @property
    def standing(self) -> str:
        """Its state in words: "running", "stopped at 25", "completed", …"""
        if self.state == State.COMPLETED and self.stopped_at is not None:
            return f"stopped at {short_value(self.stopped_at)}"
        return self.state.lower()


def row_of(entry: Mapping[str, Any], metric: str) -> TrialRow:
    """Returns the row of a trial's entry in summary.json."""
    rungs = tuple(
        Rung(rung["units"], finite(rung.get("value")), bool(rung.get("continues")))
        for rung in entry.get("rungs") or ()
    )
    return TrialRow(
        number=entry["trial"],
        state=str(entry["state"]),
        params=entry.get("params") or {},
        steps=entry.get("steps_completed") or 0,
        metric=finite((entry.get("final") or {}).get(metric)),
        best=finite((entry.get("best") or {}).get(metric)),
        wall_s=entry.get("wall_seconds") or 0.0,
        bracket=entry.get("bracket"),
        stopped_at=entry.get("stopped_at"),
        restarts=entry.get("restarts") or 0,
        rungs=rungs,
    )


def live_row(
    row: TrialRow, progress: Progress, searcher: Mapping[str, Any], now: float
) -> TrialRow:
    """Returns the row brought up to date by what its running trial has reported.

    Args:
        row: As of the last summary; its best value may be from before a restart.
        progress: Of the present attempt.
        searcher: summary["searcher"].
        now: Seconds since the epoch, for the remaining time.
    """
    metric, smaller = searcher["metric"], searcher["smaller_is_better"]
    last = progress.validations[-1].number(metric) if progress.validations else row.metric
    best = best_row(progress.validations, metric, smaller)
    values = [v for v in (row.best, best.number(metric) if best else None) if v is not None]
    return replace(
        row,
        steps=max(row.steps, progress.steps),
        max_steps=progress.max_steps or row.max_steps,
        metric=last,
        best=(min if smaller else max)(values) if values else None,
        tokens_per_second=progress.tokens_per_second,
        eta_s=eta_seconds(list(progress.samples), now),
    )


def finite(value: Any) -> float | None:
    """Returns the value if it is a finite number, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def best_first(rows: Iterable[TrialRow], smaller_is_better: bool) -> list[TrialRow]:
    """Returns the rows in order of their best value, those without one last; equals by number."""
    sign = 1.0 if smaller_is_better else -1.0
    return sorted(
        rows, key=lambda r: (r.best is None, 0.0 if r.best is None else sign * r.best, r.number)
    )


def searched_names(rows: Iterable[TrialRow]) -> list[str]:
    """Returns the dotted paths of all searched hyperparameters, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.params))


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Returns for each dotted path its shortest end that no other path ends with."""
    names = {}
    for path in paths:
        words = path.split(".")
        ends = [".".join(words[-count:]) for count in range(1, len(words) + 1)]
        others = [f".{other}" for other in paths if other != path]
        names[path] = next(
            (e for e in ends if not any(other.endswith(f".{e}") for other in others)), path
        )
    return names


def abbreviated(names: Sequence[str], limits: Sequence[int]) -> list[str]:
    """Returns the names with their words cut, evenly, until each fits and all still differ.

    "learning_rate" becomes "learn_rate" within 10 characters and "lea_rat" within 8. What cannot
    be brought down to its limit keeps one letter a word.

    Args:
        names: All different.
        limits: Characters, for each of the names.
    """
    shortened = list(names)
    for index, (name, limit) in enumerate(zip(names, limits, strict=True)):
        words = re.split(r"([_.])", name)
        for letters in range(max(map(len, words)), 0, -1):
            cut = "".join(word[:letters] for word in words)
            if cut in shortened[:index] + shortened[index + 1 :]:
                break
            shortened[index] = cut
            if len(cut) <= limit:
                break
    return shortened


def short_value(value: Any, limit: int | None = None) -> str:
    """Returns a hyperparameter's or a metric's value in few characters: "3.2e-4", "16", "true".

    Args:
        value: A number, a string, a bool or None.
        limit: Characters beyond which a text loses its beginning (of a path, the end tells).
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int) and abs(value) < 1_000_000:
        return str(value)
    if isinstance(value, int | float):
        return _short_number(float(value))
    text = " ".join(str(value).split())
    return text if limit is None or len(text) <= limit else "…" + text[-(limit - 1) :]


def _short_number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 0.01 <= abs(value) < 1_000_000:
        text = f"{value:.4g}"
        return text if "e" not in text else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
