"""Pictures of a search: the metric over its trials, and over each hyperparameter."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from det_files.local.canvas import (
    BEST,
    COLOURS,
    FAILED,
    FULL_WIDTH,
    HALF_WIDTH,
    INK,
    SMALL_TEXT_SIZE,
    dress,
    format_values,
    legend_above,
    mark_best,
    new_figure,
    usual_range,
)
from det_files.local.search_rows import TrialRow, searched_names
from det_files.local.search_scales import Scale, scale_of
from det_files.local.short_text import short_names

PANELS_A_ROW = 4
CHARACTER_INCHES = 0.085  # at SMALL_TEXT_SIZE, generously
STOPPED = "#8db4dc"  # lighter than those that went all the way
OUT_OF_RANGE = {True: "^", False: "v"}  # by whether smaller is better: towards the worse side


def draw_history(
    rows: Sequence[TrialRow], metric: str, smaller_is_better: bool, best_trial: int | None
) -> Figure | None:
    """Returns each trial's best metric by its number, and the best one so far as a step line.

    Far out values stand at the picture's edge as triangles; failed trials are crosses, at the edge
    where they have measured nothing.

    Returns:
        None where no trial has been measured.
    """
    rows = sorted(rows, key=lambda row: row.number)
    measured = [row for row in rows if row.best is not None]
    if not measured:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    values = [row.best for row in measured if row.best is not None]
    low, high, edge = with_room(usual_range(values, smaller_is_better), smaller_is_better)
    numbers = [row.number for row in measured]
    so_far = list(accumulate(values, min if smaller_is_better else max))
    # The last level goes on to the last trial, measured or not.
    steps = ([*numbers, rows[-1].number], [*so_far, so_far[-1]])
    axes.step(*steps, where="post", color=INK, linewidth=1.2, label="best so far", zorder=2)
    _scatter_by_kind(axes, rows, [row.number for row in rows], edge, smaller_is_better)
    axes.set_ylim(low, high)
    for number, value in zip(numbers, values, strict=True):
        if number == best_trial:
            mark_best(axes, (number, value))
    dress(axes, "trial", metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    axes.set_xlim(min(r.number for r in rows) - 0.7, rows[-1].number + 0.7)
    format_values(axes, [low, high])
    legend_above(axes, 5)
    return figure


def draw_scatters(
    rows: Sequence[TrialRow], metric: str, smaller_is_better: bool, best_trial: int | None
) -> Figure | None:
    """Returns a panel a hyperparameter: the metric over its values.

    Returns:
        None where no trial with hyperparameters has been measured.
    """
    measured = [row for row in rows if row.best is not None]
    paths = searched_names(measured)
    if not paths:
        return None
    names = short_names(paths)
    columns = min(PANELS_A_ROW, len(paths))
    lines = -(-len(paths) // columns)
    width = HALF_WIDTH if columns <= 2 else FULL_WIDTH
    figure = new_figure(width, 2.7 * lines)
    values = [row.best for row in measured if row.best is not None]
    low, high, edge = with_room(usual_range(values, smaller_is_better), smaller_is_better)
    for place, path in enumerate(paths):
        axes = figure.add_subplot(lines, columns, place + 1)
        having = [row for row in measured if path in row.params]
        scale = scale_of(row.params[path] for row in having)
        places = [scale.position(row.params[path]) for row in having]
        on_axis = [(r, p) for r, p in zip(having, places, strict=True) if p is not None]
        for row, across in sorted(on_axis, key=lambda pair: pair[0].number == best_trial):
            _draw_point(axes, across, row, edge, smaller_is_better, row.number == best_trial)
        axes.set_ylim(low, high)
        dress(axes, names[path], metric if place % columns == 0 else "")
        _scale_ticks(axes, scale, width / columns)
        format_values(axes, [low, high])
        if place % columns:
            axes.tick_params(labelleft=False)
    return figure


def with_room(usual: tuple[float, float], smaller_is_better: bool) -> tuple[float, float, float]:
    """Returns (low, high, edge) of a vertical axis around the usual values.

    Values that are worse than `edge` are drawn there.
    """
    low, high = usual
    room = 0.14 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - room, high + room
    return low, high, high - 0.25 * room if smaller_is_better else low + 0.25 * room


def _scatter_by_kind(
    axes: Any, rows: Sequence[TrialRow], places: Sequence[float], edge: float, smaller: bool
) -> None:
    """Draws the trials' values, one series a kind, so that the legend names the kinds there are."""
    kinds: dict[str, tuple[dict[str, Any], list[tuple[float, float]]]] = {
        "completed": ({"marker": "o", "color": COLOURS[0]}, []),
        "stopped early": ({"marker": "o", "color": STOPPED}, []),
        "not ended": ({"marker": "o", "color": COLOURS[0], "markerfacecolor": "white"}, []),
        "far worse": ({"marker": OUT_OF_RANGE[smaller], "color": COLOURS[0]}, []),
        "failed": ({"marker": "x", "color": FAILED, "markeredgewidth": 1.6}, []),
    }
    for row, place in zip(rows, places, strict=True):
        value = edge if row.best is None else row.best
        beyond = value > edge if smaller else value < edge
        if row.failed:
            kind = "failed"
        elif row.best is None:
            continue  # has yet to be measured
        elif beyond:
            kind = "far worse"
        elif row.stopped_at is not None:
            kind = "stopped early"
        else:
            kind = "completed" if row.state == "COMPLETED" else "not ended"
        kinds[kind][1].append((place, edge if beyond else value))
    for name, (style, points) in kinds.items():
        if points:
            axes.plot(
                *zip(*points, strict=True),
                **style,
                linestyle="",
                markersize=5.5,
                label=name,
                zorder=3,
            )


def _draw_point(
    axes: Any, across: float, row: TrialRow, edge: float, smaller: bool, is_best: bool
) -> None:
    value = row.best if row.best is not None else edge
    beyond = value > edge if smaller else value < edge
    kind = BEST if is_best else STOPPED if row.stopped_at is not None else COLOURS[0]
    axes.plot(
        across,
        edge if beyond else value,
        marker=OUT_OF_RANGE[smaller] if beyond else "o",
        markersize=8 if is_best else 5,
        color=kind,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linestyle="",
        label=f"trial {row.number}",
        zorder=4 if is_best else 3,
    )


def _scale_ticks(axes: Any, scale: Scale, width_inches: float) -> None:
    """Writes the scale's ticks below the axes, categories in two rows where one has no room."""
    between = (width_inches - 0.8) / max(1, len(scale.categories) - 1)
    # Two rows leave each text twice the distance; the outer texts, which keep within the panel,
    # take their whole width of it, the next ones half of theirs.
    characters = int(2 * between / 1.5 / CHARACTER_INCHES)
    ticks = scale.ticks(nearest=0.4 / width_inches, longest=min(14, max(5, characters)))
    longest = max((len(text) for _, text in ticks), default=0)
    slanting = bool(scale.categories) and longest > max(1, characters)
    in_two_rows = bool(scale.categories) and not slanting and longest > characters / 2
    texts = [f"\n{text}" if in_two_rows and n % 2 else text for n, (_, text) in enumerate(ticks)]
    axes.set_xlim(-0.07, 1.07)
    axes.set_xticks([position for position, _ in ticks], texts)
    axes.tick_params(axis="x", labelsize=SMALL_TEXT_SIZE)
    labels = axes.get_xticklabels()
    if slanting:
        for label in labels:
            label.set(rotation=60, ha="right", rotation_mode="anchor")
    elif scale.categories and len(labels) > 1 and longest > 5:  # else they are within it
        labels[0].set_ha("left")
        labels[-1].set_ha("right")
