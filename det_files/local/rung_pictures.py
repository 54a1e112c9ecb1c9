"""The picture of a halving search: each trial's metric over its length, and the rungs it met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from det_files.local.canvas import (
    BEST,
    COLOURS,
    FAILED,
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    SMALL_TEXT_SIZE,
    SOFT_INK,
    TEXT_SIZE,
    dress,
    format_values,
    new_figure,
    usual_curves_range,
)
from det_files.local.metrics import VALIDATION, Row
from det_files.local.search_pictures import OUT_OF_RANGE, STOPPED, with_room
from det_files.local.search_rows import TrialRow
from det_files.local.short_text import short_value

PANELS_A_ROW = 3


@dataclass(frozen=True)
class Path:
    """A trial's (units, metric) in order of units of the time metric."""

    row: TrialRow
    points: Sequence[tuple[float, float]]


def draw_rungs(
    rows: Sequence[TrialRow],
    reported: Mapping[int, Sequence[Row]],
    search: Mapping[str, Any],
    searcher: Mapping[str, Any],
    best_trial: int | None,
) -> Figure | None:
    """Returns a panel a bracket; None for a search without brackets or without any value.

    Args:
        rows: All trials.
        reported: The standing rows of each trial's metrics, by its number.
        search, searcher: These entries of the summary.
        best_trial: The number of the trial that stands out.
    """
    unit, metric = search.get("time_metric") or "batches", searcher["metric"]
    paths = [
        Path(row, path_points(row, reported.get(row.number, ()), metric, unit)) for row in rows
    ]
    panels = [
        (number, bracket["rungs"], [path for path in paths if (path.row.bracket or 0) == number])
        for number, bracket in enumerate(search.get("brackets") or ())
    ]
    panels = [panel for panel in panels if panel[1] and panel[2]]
    curves = [[value for _, value in path.points] for path in paths if path.points]
    if not (panels and curves):
        return None
    smaller = searcher["smaller_is_better"]
    limits = with_room(usual_curves_range(curves, smaller), smaller)
    columns, lines = min(PANELS_A_ROW, len(panels)), -(-len(panels) // PANELS_A_ROW)
    figure = new_figure(HALF_WIDTH if len(panels) == 1 else FULL_WIDTH, 3.6 * lines)
    for place, (number, rungs, of_bracket) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, place + 1)
        dress(axes, unit, metric if place % columns == 0 else "")
        _draw_bracket(axes, rungs, of_bracket, limits, smaller, best_trial)
        if len(panels) > 1:
            title = f"bracket {number}: {len(of_bracket)} trial" + "s" * (len(of_bracket) != 1)
            axes.set_title(title, loc="left", fontsize=TEXT_SIZE, color=INK, pad=20)
    _add_legend(figure, rows, best_trial)
    return figure


def _draw_bracket(
    axes: Any,
    rungs: Sequence[float],
    paths: Sequence[Path],
    limits: tuple[float, float, float],
    smaller: bool,
    best_trial: int | None,
) -> None:
    low, high, edge = limits
    for path in paths:
        _draw_path(axes, path, edge, smaller, path.row.number == best_trial)
    axes.set_ylim(low, high)
    format_values(axes, [low, high])
    _draw_rung_lines(axes, rungs, [path.row for path in paths])


def path_points(
    row: TrialRow, reported: Sequence[Row], metric: str, unit: str
) -> list[tuple[float, float]]:
    """Returns (units, value) of a trial's validations and rungs, in order of units."""
    points: dict[float, float] = {}
    for report in reported:
        value, units = report.number(metric), report.number(unit)
        if units is None and unit == "batches":
            units = report.steps
        if report.group == VALIDATION and value is not None and units:
            points[units] = value
    points |= {rung.units: rung.value for rung in row.rungs if rung.value is not None}
    return sorted(points.items())


def _draw_path(axes: Any, path: Path, edge: float, smaller: bool, is_best: bool) -> None:
    row, stopped = path.row, path.row.stopped_at is not None
    colour = BEST if is_best else STOPPED if stopped or row.failed else COLOURS[0]
    order = 4.0 if is_best else 2.5 if stopped else 3.0
    if path.points:
        width = 2.2 if is_best else 1.1
        axes.plot(
            *zip(*path.points, strict=True),
            color=colour,
            linewidth=width,
            zorder=order,
            label=f"trial {row.number}",
        )
    elif not row.failed:
        return  # has yet to be measured
    unmeasured = [rung.units for rung in row.rungs if rung.value is None]
    units, value = path.points[-1] if path.points else (float(row.steps), edge)
    beyond = value > edge if smaller else value < edge
    style: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 6 if is_best else 4.5}
    if row.failed or unmeasured:
        units = max([units, *unmeasured])
        value = value if path.points and not unmeasured else edge
        style |= {"color": FAILED, "marker": "x", "markersize": 6, "markeredgewidth": 1.6}
    elif beyond:
        style |= {"marker": OUT_OF_RANGE[smaller]}
    elif row.runs:
        style |= {"markerfacecolor": "white"}
    axes.plot(
        [units],
        [edge if beyond else value],
        **style,
        linestyle="",
        zorder=order + 0.2,
        label=f"end of trial {row.number}",
    )


def _draw_rung_lines(axes: Any, rungs: Sequence[float], rows: Sequence[TrialRow]) -> None:
    """Draws the rungs and over each how many trials met it and how many of them went on."""
    if len(rungs) > 1 and min(rungs) > 0:
        axes.set_xscale("log")  # rungs lie at even ratios
    axes.grid(False, axis="x")
    axes.set_xticks(rungs, [short_value(units) for units in rungs])
    axes.minorticks_off()
    for units in rungs:
        axes.axvline(units, color=SOFT_INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        met = [rung for row in rows for rung in row.rungs if rung.units == units]
        going_on = sum(rung.continues for rung in met)
        text = str(len(met)) if units == max(rungs) else f"{len(met)} → {going_on}"
        axes.annotate(
            text,
            (units, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL_TEXT_SIZE,
            color=SOFT_INK,
        )


def _add_legend(figure: Figure, rows: Sequence[TrialRow], best_trial: int | None) -> None:
    round_: dict[str, Any] = {"marker": "o", "markersize": 5}
    entries = [
        (f"trial {best_trial} (best)", any(row.number == best_trial for row in rows), BEST, round_),
        (
            "not stopped",
            any(not r.failed and r.stopped_at is None for r in rows),
            COLOURS[0],
            round_,
        ),
        ("stopped at a rung", any(row.stopped_at is not None for row in rows), STOPPED, round_),
        ("failed", any(row.failed for row in rows), FAILED, {"marker": "x", "linestyle": ""}),
    ]
    figure.legend(
        handles=[
            Line2D([], [], color=colour, label=label, **style)
            for label, is_there, colour, style in entries
            if is_there
        ],
        loc="outside upper left",
        ncols=4,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
