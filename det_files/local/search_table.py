"""The table of a search's trials as lines of text, and the lines that tell of single events.

    16 trials  best eval_loss 1.2345 (trial 7)  1 running, 13 completed, 2 stopped early
    trial  state          learning_rate   r     step  eval_loss    best  tokens/s    ETA
        3  running               3.2e-4  16   12/100     2.1003  2.0912     1,234  3m07s
        7  completed             1.1e-4   8  100/100     1.2401  1.2345
      and 12 completed, 2 stopped early

ASCII but for a shortened text, because stdout may be of an ASCII locale.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from det_files.autotune.metrics import MEASURED
from det_files.local.progress import duration
from det_files.local.search_rows import QUEUED, TrialRow, best_first, searched_names
from det_files.local.short_text import abbreviated, short_names, short_value
from det_files.local.summary import State
from det_files.local.text_table import GAP, Column, fitted

LONGEST_TEXT = 20  # characters of a hyperparameter's value in a table


def table_lines(
    rows: Sequence[TrialRow], searcher: Mapping[str, Any], width: int, height: int
) -> list[str]:
    """Returns the live table: a headline, running trials, then the best of the finished ones.

    Args:
        rows: All trials decided upon so far.
        searcher: summary["searcher"]: its metric and direction.
        width: Characters that a line may have.
        height: Lines that there may be.
    """
    smaller = searcher["smaller_is_better"]
    running = sorted((row for row in rows if row.runs), key=lambda row: row.number)
    ended = [row for row in rows if not row.runs and row.state != QUEUED]
    shown = running + best_first(ended, smaller)
    room = max(0, height - 3)  # besides the headline, the titles and the count of the rest
    if len(shown) == room + 1 and len(shown) == len(rows):
        room += 1  # nothing is left to be counted
    shown = shown[:room]
    lines = [_headline(rows, searcher)]
    if shown:
        lines += fitted(lambda length: _live_columns(shown, rows, searcher, length), width)
    if len(shown) < len(rows):
        numbers = {row.number for row in shown}
        lines.append(f"{GAP}and {state_counts([row for row in rows if row.number not in numbers])}")
    return [line[:width] for line in lines][: max(1, height)]


def final_lines(
    rows: Sequence[TrialRow], searcher: Mapping[str, Any], width: int | None = None
) -> list[str]:
    """Returns the table at the end of a search, the best trial first.

    Args:
        rows: All trials.
        searcher: summary["searcher"].
        width: Characters that a line may have; None where nothing wraps them.
    """
    ordered = best_first(rows, searcher["smaller_is_better"])
    if not ordered:
        return []

    def columns(longest_name: int | None) -> list[Column]:
        return [
            _column("trial", ordered, lambda r: str(r.number)),
            _column("state", ordered, _standing, left=True),
            *_rare(ordered),
            *_parameters(ordered, ordered, longest_name),
            _column(f"best {searcher['metric']}", ordered, lambda r: _metric(r.best)),
            _column("steps", ordered, lambda r: str(r.steps)),
            _column("time", ordered, lambda r: duration(r.wall_s), needless=7),
        ]

    return fitted(columns, width)


def best_line(row: TrialRow, metric: str) -> str:
    """Returns the line that names the best trial and its hyperparameters."""
    value = "" if row.best is None else f", {metric} {_metric(row.best)}"
    return f"best hyperparameters: trial {row.number}{value}: {_settings(row.params)}"


def event_line(row: TrialRow, metric: str, unit: str = "batches") -> str:
    """Returns one plain line on what has become of a trial: started, stopped at a rung, ended.

    Args:
        row: The trial as it now is.
        metric: The searcher's.
        unit: The time metric that rungs are counted in.
    """
    trial = f"trial {row.number}"
    if row.state == QUEUED:
        return f"{trial} queued: {_settings(row.params)}"
    if row.runs:
        # What is measured is not resumed (training.py).
        resumed = "starts anew" if metric in MEASURED else f"continues from step {row.steps}"
        begins = resumed if row.steps else "started"
        bracket = "" if row.bracket is None else f" (bracket {row.bracket})"
        return f"{trial} {begins}{bracket}: {_settings(row.params)}"
    standing = row.state.lower() if row.state != State.ERROR else "failed"
    if row.stopped_at is not None and row.state == State.COMPLETED:
        standing = f"stopped by the searcher at {short_value(row.stopped_at)} {unit}"
    text = f"{trial} {standing}: {row.steps} steps in {duration(row.wall_s)}"
    if row.metric is not None:
        text += f", {metric} {_metric(row.metric)}"
    if row.best is not None and row.best != row.metric:
        text += f" (best {_metric(row.best)})"
    return text


def _headline(rows: Sequence[TrialRow], searcher: Mapping[str, Any]) -> str:
    parts = [f"{len(rows)} trial{'s' * (len(rows) != 1)}"]
    measured = best_first((r for r in rows if r.best is not None), searcher["smaller_is_better"])
    if measured:
        best = measured[0]
        parts.append(f"best {searcher['metric']} {_metric(best.best)} (trial {best.number})")
    return GAP.join([*parts, state_counts(rows)])


def state_counts(rows: Sequence[TrialRow]) -> str:
    """Returns "2 running, 9 completed, …"."""

    def word(row: TrialRow) -> str:
        if row.state == State.ERROR:
            return "failed"
        early = row.state == State.COMPLETED and row.stopped_at is not None
        return "stopped early" if early else row.state.lower()

    order = ("running", "completed", "stopped early", "failed", "stopped", "killed", "queued")
    counts = Counter(map(word, rows))
    known = [(name, counts.pop(name)) for name in order if name in counts]
    return ", ".join(f"{count} {name}" for name, count in [*known, *counts.items()])


def _live_columns(
    shown: Sequence[TrialRow],
    rows: Sequence[TrialRow],
    searcher: Mapping[str, Any],
    longest_name: int | None,
) -> list[Column]:
    def step(row: TrialRow) -> str:
        return f"{row.steps}/{row.max_steps}" if row.max_steps else str(row.steps)

    def speed(row: TrialRow) -> str:
        value = row.tokens_per_second if row.runs else None
        return "" if value is None else f"{value:,.0f}"

    def eta(row: TrialRow) -> str:
        return duration(row.eta_s) if row.runs and row.eta_s else ""

    return [
        _column("trial", shown, lambda r: str(r.number)),
        _column("state", shown, _standing, left=True),
        *_rare(shown),
        *_parameters(shown, rows, longest_name),
        _column("step", shown, step),
        _column(searcher["metric"], shown, lambda r: _metric(r.metric), needless=7),
        _column("best", shown, lambda r: _metric(r.best)),
        _column("tokens/s", shown, speed, needless=8),
        _column("ETA", shown, eta, needless=6),
    ]


def _column(
    title: str,
    rows: Sequence[TrialRow],
    cell: Callable[[TrialRow], str],
    needless: int = 0,
    left: bool = False,
) -> Column:
    return Column(title, [cell(row) for row in rows], needless, left)


def _standing(row: TrialRow) -> str:
    return "failed" if row.state == State.ERROR else row.standing


def _rare(rows: Sequence[TrialRow]) -> list[Column]:
    """Returns the columns that most searches have no use for: brackets, restarts."""
    columns = []
    if any(row.bracket for row in rows):  # more than bracket 0
        bracket = ["" if row.bracket is None else str(row.bracket) for row in rows]
        columns.append(Column("bracket", bracket, needless=9))
    if any(row.restarts for row in rows):
        columns.append(Column("restarts", [str(row.restarts or "") for row in rows], needless=10))
    return columns


def _parameters(
    shown: Sequence[TrialRow], rows: Sequence[TrialRow], longest_name: int | None
) -> list[Column]:
    """Returns a column for each hyperparameter; those equal in all `rows` can be spared first."""
    paths = searched_names(rows)
    names = list(short_names(paths).values())
    longest_text = None if longest_name is None else LONGEST_TEXT
    columns = []
    for path in paths:
        cells = [
            short_value(row.params[path], longest_text) if path in row.params else "-"
            for row in shown
        ]
        varies = len({short_value(row.params.get(path)) for row in rows}) > 1
        columns.append(Column("", cells, needless=1 if varies else 11, parameter=True))
    if longest_name is not None:  # a name shorter than its values would save nothing
        names = abbreviated(names, [max(longest_name, column.width) for column in columns])
    return [replace(column, title=name) for column, name in zip(columns, names, strict=True)]


def _metric(value: float | None) -> str:
    """Returns a metric's value with four decimals, as the other lines of a run show it."""
    if value is None:
        return ""
    return f"{value:.4f}" if 0.001 <= abs(value) < 1e5 or value == 0 else short_value(value)


def _settings(params: Mapping[str, Any]) -> str:
    names = short_names(list(params))
    return ", ".join(f"{names[path]} {short_value(value)}" for path, value in params.items())
