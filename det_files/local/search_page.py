"""What the report says of a search: its tiles, its pictures, its table of trials, its facts."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from det_files.local.canvas import HALF_WIDTH, png
from det_files.local.metrics import TRAINING, Row, series
from det_files.local.page import DASH, chip, figure, number, section, table, tile
from det_files.local.parallel_coordinates import draw_parallel_coordinates
from det_files.local.progress import duration
from det_files.local.rung_pictures import draw_rungs
from det_files.local.search_pictures import draw_history, draw_scatters
from det_files.local.search_rows import TrialRow, best_first, row_of, searched_names
from det_files.local.search_table import state_counts
from det_files.local.short_text import short_names, short_value
from det_files.local.summary import State

Entry = dict[str, Any]


def rows_of_summary(summary: Entry) -> list[TrialRow]:
    """Returns a row for each of the summary's trials."""
    return [row_of(trial, summary["searcher"]["metric"]) for trial in summary["trials"]]


def search_tiles(summary: Entry, reported: Mapping[int, Sequence[Row]]) -> str:
    """Returns the key figures; `reported` are the rows of each trial's metrics."""
    rows, metric = rows_of_summary(summary), summary["searcher"]["metric"]
    best = next((row for row in rows if row.number == summary["best_trial"]), None)
    remark = "no trial has been measured"
    if best is not None and best.best is not None:
        remark = f"trial {best.number}, at step {_best_steps(summary)[best.number]:,}"
    speeds = [s for of_trial in reported.values() for s in _speeds(of_trial)]
    allowed = summary["search"].get("max_trials")
    of_allowed = f" of {allowed}" if allowed and allowed != len(rows) else ""
    tiles = [
        tile(f"Best {metric}", number(best.best if best else None), remark),
        tile("Trials", f"{len(rows)}{of_allowed}", state_counts(rows)),
        tile("Steps", f"{sum(row.steps for row in rows):,}", "of all trials"),
        tile("Wall time", duration(summary.get("wall_seconds", 0.0)), ""),
        tile("Tokens per second", number(median(speeds) if speeds else None), "median of a trial"),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def search_figures(summary: Entry, reported: Mapping[int, Sequence[Row]]) -> list[str]:
    """Returns the pictures of the search that there are values for, as HTML."""
    rows, best, searcher = rows_of_summary(summary), summary["best_trial"], summary["searcher"]
    given = (rows, searcher["metric"], searcher["smaller_is_better"], best)
    up = "smaller" if searcher["smaller_is_better"] else "larger"
    drawn: list[tuple[str, Figure | None, str]] = [
        ("Trials in order", draw_history(*given), ""),
        (
            "Hyperparameters together",
            draw_parallel_coordinates(*given),
            f"A line a trial, the darker the better ({up} is better, up), the best one orange.",
        ),
        (
            "Rungs",
            draw_rungs(rows, reported, summary["search"], searcher, best),
            "Above each rung: how many trials met it, and how many of them went on.",
        ),
        (
            "Hyperparameters one by one",
            draw_scatters(*given),
            "Each trial's best value; the best trial orange, light: stopped early.",
        ),
    ]
    return [
        figure(title, png(picture), title, bool(picture.get_figwidth() > HALF_WIDTH), remark)
        for title, picture, remark in drawn
        if picture is not None
    ]


def search_table(summary: Entry) -> str:
    """Returns the table of trials, best first, with the searched hyperparameters only."""
    rows, searcher = rows_of_summary(summary), summary["searcher"]
    best_steps = {
        t["trial"]: (t.get("best") or {}).get("steps_completed") for t in summary["trials"]
    }
    names = short_names(searched_names(rows))
    has_brackets = any(row.bracket is not None for row in rows)
    # The result before what led to it: a table of many hyperparameters is wider than the page.
    head = ["Trial", "State", *["Bracket"] * has_brackets, f"Best {searcher['metric']}"]
    head += [*names.values(), "At step", "Steps", "Time"]
    body = []
    for row in best_first(rows, searcher["smaller_is_better"]):
        early = row.state == State.COMPLETED and row.stopped_at is not None
        cells = [str(row.number), chip("early" if early else row.state, row.standing)]
        cells += [DASH if row.bracket is None else str(row.bracket)] * has_brackets
        cells.append(number(row.best))
        cells += [
            escape(short_value(row.params[path])) if path in row.params else DASH for path in names
        ]
        cells += [number(best_steps[row.number]), f"{row.steps:,}", duration(row.wall_s)]
        body.append((cells, row.number == summary["best_trial"]))
    return section("Trials, best first", table(head, body))


def search_facts(summary: Entry) -> list[tuple[str, Any]]:
    """Returns what the search was, as (name, text) for the report's table of the run."""
    search, unit = summary["search"], summary["search"].get("time_metric") or "batches"
    facts = [
        ("Trials at most", search.get("max_trials")),
        ("Seed of the search", search.get("seed")),
        ("Study", search.get("study")),
        ("Experiment with the best hyperparameters", search.get("best_experiment")),
    ]
    for place, bracket in enumerate(search.get("brackets") or ()):
        rungs = ", ".join(short_value(units) for units in bracket["rungs"])
        facts.insert(
            1 + place, (f"Bracket {place}", f"{bracket['trials']} trials, {unit}: {rungs}")
        )
    return [(name, value) for name, value in facts if value is not None]


def _best_steps(summary: Entry) -> dict[int, Any]:
    return {t["trial"]: (t.get("best") or {}).get("steps_completed") for t in summary["trials"]}


def _speeds(rows: Sequence[Row]) -> list[float]:
    return series(rows, TRAINING, "tokens_per_second")[1]
