"""The picture of a search that has one axis a hyperparameter and a line a trial.

learning_rate    r     method   eval_loss
    |            |       |          |      the better end of the metric is up
    |            |       |          |      colour: by rank, the best are the darkest
    |            |       |          |
    -            -                  -      what lacks the hyperparameter, or has no value
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from det_files.local.canvas import (
    BEST,
    COLOURS,
    FAILED,
    FULL_WIDTH,
    HALF_WIDTH,
    HEIGHT,
    INK,
    SMALL_TEXT_SIZE,
    SOFT_INK,
    TEXT_SIZE,
    new_figure,
    usual_range,
)
from det_files.local.search_rows import TrialRow, best_first, searched_names
from det_files.local.search_scales import Scale, scale_of
from det_files.local.short_text import short_names

LACKING = -0.13  # where a line passes that has no value on an axis
WORST_COLOUR = "#d5dbe4"
COLOUR_MAP = LinearSegmentedColormap.from_list(
    "worst_to_best", [WORST_COLOUR, "#8db4dc", COLOURS[0]]
)
SPREAD = 0.03  # half the height over which the lines of one category are spread
CHARACTER_INCHES = 0.083  # at TEXT_SIZE


@dataclass(frozen=True)
class Axis:
    """One vertical axis; `path` is a hyperparameter's, None for the metric."""

    name: str
    scale: Scale
    path: str | None
    is_flipped: bool = False

    def position(self, row: TrialRow) -> float | None:
        """Returns where the trial's value lies, from 0 at the bottom to 1; None without one."""
        if self.path is not None and self.path not in row.params:
            return None
        value = row.best if self.path is None else row.params[self.path]
        position = self.scale.position(value)
        return 1.0 - position if self.is_flipped and position is not None else position


def draw_parallel_coordinates(
    rows: Sequence[TrialRow], metric: str, smaller_is_better: bool, best_trial: int | None
) -> Figure | None:
    """Returns the picture; None where no trial with hyperparameters has ended or been measured.

    Args:
        rows: All trials; those that have neither a value nor failed are left out.
        metric: The searcher's.
        smaller_is_better: Its direction; the better end is up.
        best_trial: The number of the trial that is drawn over the others.
    """
    shown = [row for row in rows if row.best is not None or row.failed]
    axes_of = coordinate_axes(shown, metric, smaller_is_better)
    if len(axes_of) < 2:
        return None
    width = HALF_WIDTH if len(axes_of) <= 3 else max(FULL_WIDTH, 1.1 * len(axes_of))
    figure = new_figure(width, HEIGHT if width == HALF_WIDTH else 3.9)
    axes = figure.add_subplot()
    axes.set_axis_off()
    order = best_first(shown, smaller_is_better)[::-1]  # the best ones over the others
    ranks = sorted(h for row in shown if (h := axes_of[-1].position(row)) is not None)
    for row in sorted(order, key=lambda row: (row.number == best_trial, row.best is not None)):
        _draw_trial(axes, axes_of, row, row.number == best_trial, ranks)
    lacking = False
    for place, axis in enumerate(axes_of):
        _draw_axis(axes, axis, place, int(width / len(axes_of) / CHARACTER_INCHES))
        if axis.path is None:
            _draw_colours(axes, place, ranks)
        lacking |= any(axis.position(row) is None for row in shown)
        if any(axis.position(row) is None for row in shown):
            _write(axes, place, LACKING, "no value" if axis.path is None else "none")
    axes.set_xlim(-0.15, len(axes_of) - 0.45)
    axes.set_ylim(LACKING - 0.05 if lacking else -0.05, 1.05)
    return figure


def coordinate_axes(rows: Sequence[TrialRow], metric: str, smaller_is_better: bool) -> list[Axis]:
    """Returns an axis for each hyperparameter and, last, the metric's."""
    paths = searched_names(rows)
    names = short_names(paths)
    values = [row.best for row in rows if row.best is not None]
    axes = [
        Axis(names[path], scale_of(r.params[path] for r in rows if path in r.params), path)
        for path in paths
    ]
    scale = Scale(*usual_range(values, smaller_is_better)) if values else Scale()
    return [*axes, Axis(metric, scale, None, is_flipped=smaller_is_better)] if axes else []


def rank_colour(height: float, ranks: Sequence[float]) -> Any:
    """Returns the colour of a height on the metric's axis: by how many trials lie below it.

    By rank, because the values of a search crowd near the best one and would all look the same.
    """
    if len(ranks) < 2:
        return COLOUR_MAP(1.0)
    above = min(max(1, bisect_left(ranks, height)), len(ranks) - 1)
    low, high = ranks[above - 1], ranks[above]
    part = (height - low) / (high - low) if high > low else 1.0
    return COLOUR_MAP((above - 1 + min(1.0, max(0.0, part))) / (len(ranks) - 1))


def _draw_trial(
    axes: Any, axes_of: Sequence[Axis], row: TrialRow, is_best: bool, ranks: Sequence[float]
) -> None:
    heights = []
    for axis in axes_of:
        height = axis.position(row)
        if height is None:
            height = LACKING
        elif axis.scale.categories:  # trials of one category would hide each other
            height += 0.0 if is_best else SPREAD * (2 * (row.number * 0.618 % 1) - 1)
        heights.append(height)
    label = f"trial {row.number}"
    if is_best:
        style: dict[str, Any] = {"color": BEST, "linewidth": 2.6, "zorder": 4}
        axes.plot(range(len(heights)), heights, color="white", linewidth=5.0, zorder=3.9)
    elif row.best is None:
        style = {"color": FAILED, "linewidth": 1.0, "alpha": 0.55, "linestyle": (0, (2, 2))}
    else:
        colour = rank_colour(heights[-1], ranks)
        style = {"color": colour, "linewidth": 1.4 if len(ranks) <= 24 else 1.0, "alpha": 0.9}
    axes.plot(range(len(heights)), heights, label=label, solid_joinstyle="round", **style)


def _draw_axis(axes: Any, axis: Axis, place: int, characters: int) -> None:
    axes.plot([place] * 2, [0, 1], color=SOFT_INK, linewidth=1.2, zorder=4.5)
    for position, text in axis.scale.ticks():
        _write(axes, place, 1.0 - position if axis.is_flipped else position, text)
    axes.text(
        place,
        1.07,
        wrapped(axis.name, characters),
        ha="center",
        va="bottom",
        fontsize=TEXT_SIZE,
        color=INK,
        fontweight="bold" if axis.path is None else "normal",
    )


def _draw_colours(axes: Any, place: int, ranks: Sequence[float]) -> None:
    """Draws the metric's axis in the colours of the trials that end there."""
    parts = 80
    for part in range(parts):
        low, high = part / parts, (part + 1) / parts
        colour = rank_colour((low + high) / 2, ranks)
        axes.plot(
            [place] * 2, [low, high], color=colour, linewidth=7, zorder=4.6, solid_capstyle="butt"
        )


def _write(axes: Any, place: float, height: float, text: str) -> None:
    axes.annotate(
        text,
        (place, height),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL_TEXT_SIZE,
        color=INK,
        zorder=5,
        bbox={
            "boxstyle": "round,pad=0.12",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.75,
        },
    )


def wrapped(name: str, characters: int) -> str:
    """Returns the name in lines of at most so many characters, broken behind "_" and "."."""
    lines = [""]
    for word in re.findall(r"[^_.]*[_.]?", name):
        if lines[-1] and len(lines[-1] + word) > characters:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)
