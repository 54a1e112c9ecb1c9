"""The trials of a search as rows: how each stands, and in what order they are shown.

Knows neither the terminal nor the report; both show these rows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from det_files.local.metrics import best_row
from det_files.local.progress import Progress, eta_seconds
from det_files.local.short_text import finite, short_value
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


def best_first(rows: Iterable[TrialRow], smaller_is_better: bool) -> list[TrialRow]:
    """Returns the rows in order of their best value, those without one last; equals by number."""
    sign = 1.0 if smaller_is_better else -1.0
    return sorted(
        rows, key=lambda r: (r.best is None, 0.0 if r.best is None else sign * r.best, r.number)
    )


def searched_names(rows: Iterable[TrialRow]) -> list[str]:
    """Returns the dotted paths of all searched hyperparameters, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.params))
