"""The report's pictures: curves over steps, one colour a trial, as PNG."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter

# Wong, "Points of view: Color blindness", Nature Methods 8 (2011), darkened for lines on white.
COLOURS = ("#0f62a8", "#d55e00", "#00805e", "#b3477d", "#8a6d00", "#2a93c9", "#5b4bb7", "#555555")
FADED = "#c3c9d2"
INK = "#1f2733"
SOFT_INK = "#667085"
GRID = "#e6e9ee"
SMOOTHED_FROM_POINTS = 80
MARKED_UP_TO_POINTS = 40


@dataclass(frozen=True)
class Curve:
    """One trial's values of one metric."""

    label: str
    steps: Sequence[int]
    values: Sequence[float]
    is_best: bool = True


def smooth(values: Sequence[float], half_width: int) -> list[float]:
    """Returns the centred moving average over up to `2 * half_width + 1` values.

    Centred, so that it does not trail behind a falling loss. Towards both ends the window shrinks
    evenly on its two sides; the first and the last value stay what they are.
    """
    sums = [0.0, *accumulate(values)]
    count = len(values)
    smoothed = []
    for index in range(count):
        half = min(half_width, index, count - 1 - index)
        smoothed.append((sums[index + half + 1] - sums[index - half]) / (2 * half + 1))
    return smoothed


def draw_curves(
    curves: Sequence[Curve],
    value_label: str,
    smoothed: bool = False,
    best_point: tuple[int, float] | None = None,
    from_zero: bool = False,
) -> bytes:
    """Returns a PNG of the curves over completed steps.

    Args:
        curves: At least one; those with `is_best` are drawn over the others.
        value_label: What the vertical axis shows, with its unit.
        smoothed: Draw long curves faintly and their moving average over them.
        best_point: (steps, value) to mark as the best.
        from_zero: Let the vertical axis start at zero.
    """
    figure = Figure(figsize=(6.0, 3.4), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    crowded = len(curves) > len(COLOURS)
    for index, curve in enumerate(curves):
        faded = crowded and not curve.is_best
        colour = FADED if faded else COLOURS[index % len(COLOURS)]
        _draw_curve(axes, curve, colour, smoothed)
    if best_point is not None:
        _mark_best(axes, best_point)
    _dress(axes, value_label, curves)
    if from_zero:
        axes.set_ylim(bottom=0)
    if len(curves) > 1 and not crowded:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _draw_curve(axes: Any, curve: Curve, colour: str, smoothed: bool) -> None:
    points = len(curve.steps)
    style: dict[str, Any] = {"color": colour, "zorder": 3.0 if curve.is_best else 2.0}
    values = curve.values
    if smoothed and points >= SMOOTHED_FROM_POINTS:
        axes.plot(curve.steps, values, **style, linewidth=0.8, alpha=0.3)
        values = smooth(values, points // 40)
    elif points <= MARKED_UP_TO_POINTS:
        style |= {"marker": "o", "markersize": 3.5}
    axes.plot(
        curve.steps, values, **style, linewidth=2.0 if curve.is_best else 1.1, label=curve.label
    )


def _mark_best(axes: Any, best_point: tuple[int, float]) -> None:
    axes.plot(*best_point, marker="o", markersize=9, markerfacecolor="none", color=INK, zorder=5)
    # To the middle sideways, so that the text stays inside the picture; away from it up or down,
    # so that it stays off the curve, which comes from there.
    axes.margins(y=0.2)
    on_right = best_point[0] > sum(axes.get_xlim()) / 2
    below = best_point[1] < sum(axes.get_ylim()) / 2
    axes.annotate(
        f"best {best_point[1]:.4g}",
        best_point,
        xytext=(-8 if on_right else 8, -17 if below else 9),
        textcoords="offset points",
        ha="right" if on_right else "left",
        fontsize=9.5,
        color=INK,
        zorder=6,
        bbox={
            "boxstyle": "round,pad=0.15",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.8,
        },
    )


def _dress(axes: Any, value_label: str, curves: Sequence[Curve]) -> None:
    axes.set_xlabel("steps completed", fontsize=9.5, color=SOFT_INK)
    axes.set_ylabel(value_label, fontsize=9.5, color=SOFT_INK)
    axes.tick_params(labelsize=9.5, colors=SOFT_INK, length=0)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    largest = max((abs(value) for curve in curves for value in curve.values), default=1.0)
    if largest >= 10_000:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    else:
        formatter = ScalarFormatter(useOffset=False)
        formatter.set_powerlimits((-3, 5))
        axes.yaxis.set_major_formatter(formatter)
        axes.yaxis.get_offset_text().set(size=9.5, color=SOFT_INK)
