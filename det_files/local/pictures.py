"""The report's pictures: curves over steps, one colour a trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from det_files.local.canvas import (
    BEST,
    COLOURS,
    FADED,
    INK,
    dress,
    format_values,
    legend_above,
    mark_best,
    new_figure,
    usual_curves_range,
)

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
    smaller_is_better: bool | None = None,
) -> Figure:
    """Returns the curves over completed steps; more than there are colours are faint but the best.

    Args:
        curves: At least one; those with `is_best` are drawn over the others.
        value_label: What the vertical axis shows, with its unit.
        smoothed: Draw long curves faintly and their moving average over them.
        best_point: (steps, value) to mark as the best.
        from_zero: Let the vertical axis start at zero.
        smaller_is_better: Of many curves leave far worse ones outside; None where none are worse.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    crowded = len(curves) > len(COLOURS)
    for index, curve in enumerate(curves):
        in_crowd = BEST if curve.is_best else FADED
        colour = in_crowd if crowded else COLOURS[index % len(COLOURS)]
        _draw_curve(axes, curve, colour, smoothed, crowded)
    if best_point is not None:
        mark_best(axes, best_point)
    dress(axes, "steps completed", value_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    format_values(axes, [value for curve in curves for value in curve.values])
    if crowded and smaller_is_better is not None:
        _leave_out_far_curves(axes, curves, smaller_is_better)
    if from_zero:
        axes.set_ylim(bottom=0)
    if crowded:
        _name_crowd(axes, curves)
    elif len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure


def _draw_curve(axes: Any, curve: Curve, colour: str, smoothed: bool, crowded: bool) -> None:
    points = len(curve.steps)
    style: dict[str, Any] = {"color": colour, "zorder": 3.0 if curve.is_best else 2.0}
    values, plain = curve.values, crowded and not curve.is_best
    if smoothed and points >= SMOOTHED_FROM_POINTS:
        if not plain:
            axes.plot(curve.steps, values, **style, linewidth=0.8, alpha=0.3)
        values = smooth(values, points // 40)
    elif points == 1 or (points <= MARKED_UP_TO_POINTS and not plain):
        style |= {"marker": "o", "markersize": 3.5}
    label = curve.label
    if crowded:  # a legend of all would hide them; one that starts with "_" is left out of it
        label = f"{label} (best)" if curve.is_best else f"_{label}"
    axes.plot(curve.steps, values, **style, linewidth=2.0 if curve.is_best else 1.1, label=label)


def _leave_out_far_curves(axes: Any, curves: Sequence[Curve], smaller_is_better: bool) -> None:
    """Ends the vertical axis on its worse side where the curves with usual ends do."""
    low, high = usual_curves_range([curve.values for curve in curves], smaller_is_better)
    everything = [value for curve in curves for value in curve.values]
    room = high - low  # below or above the better end there may stand the best value
    if smaller_is_better and high < max(everything):
        axes.set_ylim(low - 0.16 * room, high + 0.06 * room)
    elif not smaller_is_better and low > min(everything):
        axes.set_ylim(low - 0.06 * room, high + 0.16 * room)


def _name_crowd(axes: Any, curves: Sequence[Curve]) -> None:
    others = sum(not curve.is_best for curve in curves)
    axes.plot(
        [], [], color=FADED, label=f"{others} {'others' if others < len(curves) else 'trials'}"
    )
    legend_above(axes, 2)
