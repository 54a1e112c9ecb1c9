"""Rows of a trial's metrics.jsonl: reading them, and the final and best values in them.

One object a line: {"time" (s since the epoch), "group" ("training" or "validation"),
"steps_completed", "metrics": {name: value}}.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAINING = "training"
VALIDATION = "validation"
# How far training is, not how good: of no interest among final and best metrics.
BOOKKEEPING = frozenset({"epoch", "epochs", "batches", "progress", "max_steps"})


@dataclass(frozen=True)
class Row:
    """One report of the trial; `time` in seconds since the epoch."""

    time: float
    group: str
    steps: int
    metrics: dict[str, Any]

    def number(self, name: str) -> float | None:
        """Returns the metric as a finite number, or None."""
        value = self.metrics.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) else None


def parse_row(line: str) -> Row | None:
    """Returns the row in `line`, or None where it is torn or no row."""
    try:
        data = json.loads(line)
        return Row(
            float(data["time"]), str(data["group"]), int(data["steps_completed"]), data["metrics"]
        )
    except (ValueError, KeyError, TypeError):
        return None


class RowTail:
    """Follows a metrics.jsonl that is being written."""

    def __init__(self, path: Path, offset: int = 0):
        self._path = path
        self._offset = offset

    def poll(self) -> list[Row]:
        """Returns the rows of the whole lines written since the last call."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        rows = (parse_row(line) for line in whole.decode(errors="replace").splitlines())
        return [row for row in rows if row is not None]


def read_rows(path: Path) -> list[Row]:
    """Returns the rows that stand, in order of steps; a torn line is left out."""
    return standing_rows(RowTail(path).poll())


def standing_rows(rows: Iterable[Row]) -> list[Row]:
    """Returns the last row of each (group, steps), without what a restart has taken back.

    A trial that dies at step 15 continues from its checkpoint at step 10: with its row for step
    11 the old rows beyond 11 are void, though nothing has overwritten them yet.
    """
    standing: dict[tuple[int, str], Row] = {}
    furthest = -1
    for row in rows:
        if row.steps < furthest:
            standing = {key: old for key, old in standing.items() if key[0] <= row.steps}
        furthest = row.steps
        # Deleted first, so that a replaced row moves behind what it was measured after.
        standing.pop((row.steps, row.group), None)
        standing[row.steps, row.group] = row
    return sorted(standing.values(), key=lambda row: row.steps)


def series(rows: Sequence[Row], group: str, name: str) -> tuple[list[int], list[float]]:
    """Returns (steps, values) of one metric; rows without a finite value are left out."""
    found = [(row.steps, row.number(name)) for row in rows if row.group == group]
    points = [(steps, value) for steps, value in found if value is not None]
    return [steps for steps, _ in points], [value for _, value in points]


def numbers(row: Row) -> dict[str, float | None]:
    """Returns the row's numeric metrics, None for NaN and infinity (JSON knows neither)."""
    return {
        name: row.number(name)
        for name, value in row.metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if name not in BOOKKEEPING
    }


def final_metrics(rows: Sequence[Row]) -> dict[str, float | None]:
    """Returns the metrics of the last training row, then those of the last validation row.

    Where both carry a name, the validation's value stands.
    """
    final: dict[str, float | None] = {}
    for group in (TRAINING, VALIDATION):
        of_group = [row for row in rows if row.group == group]
        if of_group:
            final.update(numbers(of_group[-1]))
    return final


def best_row(rows: Sequence[Row], metric: str, smaller_is_better: bool) -> Row | None:
    """Returns the validation row with the best `metric`, the first of equals; None without one."""
    sign = 1.0 if smaller_is_better else -1.0
    candidates = [
        (sign * value, row.steps, row)
        for row in rows
        if row.group == VALIDATION and (value := row.number(metric)) is not None
    ]
    return min(candidates, key=lambda candidate: candidate[:2])[2] if candidates else None
