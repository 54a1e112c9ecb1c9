"""What the report's pictures share: colours, sizes, the look of axes, and the way to PNG."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, ScalarFormatter

from det_files.local.short_text import short_value

# Wong, "Points of view: Color blindness", Nature Methods 8 (2011), darkened for lines on white.
COLOURS = ("#0f62a8", "#d55e00", "#00805e", "#b3477d", "#8a6d00", "#2a93c9", "#5b4bb7", "#555555")
BEST = COLOURS[1]  # the best trial, where the others share one colour
FAILED = "#a3231a"
FADED = "#c3c9d2"
INK = "#1f2733"
SOFT_INK = "#667085"
GRID = "#e6e9ee"
TEXT_SIZE = 9.5  # points
SMALL_TEXT_SIZE = 8.5
HALF_WIDTH = 6.0  # inches: half of the page; the page shows 90 pixels for each
FULL_WIDTH = 12.2
HEIGHT = 3.4


def new_figure(width: float = HALF_WIDTH, height: float = HEIGHT) -> Figure:
    """Returns an empty figure; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Returns the figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def dress(axes: Any, label: str, value_label: str) -> None:
    """Gives axes the page's look: a grid, a bottom line, soft labels."""
    axes.set_xlabel(label, fontsize=TEXT_SIZE, color=SOFT_INK)
    axes.set_ylabel(value_label, fontsize=TEXT_SIZE, color=SOFT_INK)
    axes.tick_params(labelsize=TEXT_SIZE, colors=SOFT_INK, length=0)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)


def format_values(axes: Any, values: Sequence[float]) -> None:
    """Writes the vertical axis's values shortly: 12k and 5e-4, no factor over the axis."""
    largest = max(map(abs, values), default=1.0)
    if largest >= 10_000:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    elif largest < 1e-2:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_value(value)))
    else:
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))


def legend_above(axes: Any, columns: int) -> None:
    """Puts the legend over the axes, where it covers nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def mark_best(axes: Any, point: tuple[float, float]) -> None:
    """Rings the best point and writes its value beside it."""
    axes.plot(*point, marker="o", markersize=9, markerfacecolor="none", color=INK, zorder=5)
    axes.margins(y=0.2)  # room for the value, where the limits are not given
    axes.get_xlim()  # settles the scales that the next line reads
    across, up = axes.transAxes.inverted().transform(axes.transData.transform(point))
    # To the middle sideways, so that the text stays inside the picture; away from it up or down,
    # so that it stays off the curve, which comes from there.
    on_right, below = across > 0.5, up < 0.5
    axes.annotate(
        f"best {point[1]:.4g}",
        point,
        xytext=(-8 if on_right else 8, -17 if below else 9),
        textcoords="offset points",
        ha="right" if on_right else "left",
        fontsize=TEXT_SIZE,
        color=INK,
        zorder=6,
        bbox={
            "boxstyle": "round,pad=0.15",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.8,
        },
    )


def usual_range(values: Sequence[float], smaller_is_better: bool) -> tuple[float, float]:
    """Returns (low, high) from the best of the finite values to the worst that is not far off.

    One diverged trial would otherwise press all others into a line. "Far off" is more than three
    times the interquartile range beyond the worse quartile (Tukey, Exploratory Data Analysis,
    1977: "far out").

    Args:
        values: At least one.
        smaller_is_better: Which side is the good one.
    """
    good_first = sorted(values, reverse=not smaller_is_better)
    best, count = good_first[0], len(good_first)
    quarter, three_quarters = good_first[count // 4], good_first[(3 * count) // 4]
    reach = 3 * abs(three_quarters - quarter)
    if reach > 0.0:  # without any spread in the middle nothing can be said to be far off
        limit = abs(three_quarters - best) + reach
        good_first = [value for value in good_first if abs(value - best) <= limit]
    return min(good_first), max(good_first)


def usual_curves_range(
    curves: Sequence[Sequence[float]], smaller_is_better: bool
) -> tuple[float, float]:
    """Returns (low, high) of the whole curves whose ends are in the usual range.

    The ends decide, because all curves may start far off.

    Args:
        curves: At least one, none empty.
        smaller_is_better: Which side is the good one.
    """
    low, high = usual_range([curve[-1] for curve in curves], smaller_is_better)
    shown = [value for curve in curves if low <= curve[-1] <= high for value in curve]
    return min(shown), max(shown)
