"""A notebook's pictures: the run's losses, and how long answers are and take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from det_files.local.canvas import COLOURS, HALF_WIDTH, dress, legend_above, new_figure, png
from det_files.local.metrics import TRAINING, VALIDATION, Row, series
from det_files.local.page import figure
from det_files.local.pictures import Curve, draw_curves
from det_files.showing.asking import BATCH_SIZE, BothAnswered
from det_files.showing.fragment import Fragment
from det_files.trained.pair import NAMES

_BINS = 12
_COLOURS = dict(zip(NAMES, COLOURS, strict=False))


def show_losses(rows: Sequence[Row]) -> Fragment:
    """The training loss and the evaluation loss over steps; a remark where none were reported."""
    curves = [
        Curve(label, *series(rows, group, name))
        for label, group, name in (
            ("training", TRAINING, "loss"),
            ("evaluation", VALIDATION, "eval_loss"),
        )
    ]
    drawn = [curve for curve in curves if curve.steps]
    if not drawn:
        return Fragment('<p class="note">No metrics lie beside this checkpoint.</p>')
    picture = draw_curves(drawn, "loss (nats per token)", smoothed=True)
    return _pictures([("Loss over steps", picture, "")])


def show_lengths_and_latencies(answered: BothAnswered) -> Fragment:
    """How many tokens the answers have, and after how many seconds they were there."""
    count = len(answered.questions)
    cut = f"Answers are cut off at {answered.max_new_tokens} tokens."
    batch = f"{count} questions asked at once" if count <= BATCH_SIZE else f"{BATCH_SIZE} at a time"
    return _pictures(
        [
            ("Length of answers", _draw_lengths(answered), cut),
            ("When answers were there", _draw_latencies(answered), f"{batch}, on this machine."),
        ]
    )


def _pictures(pictures: Sequence[tuple[str, Figure, str]]) -> Fragment:
    drawn = "".join(figure(title, png(f), title, remark=remark) for title, f, remark in pictures)
    return Fragment(f'<div class="pictures">{drawn}</div>')


def _draw_lengths(answered: BothAnswered) -> Figure:
    picture = new_figure(HALF_WIDTH)
    axes = picture.add_subplot()
    tokens = {which: answered.tokens(which) for which in NAMES}
    axes.hist(
        list(tokens.values()),
        bins=_BINS,
        range=(0, answered.max_new_tokens),
        color=[_COLOURS[which] for which in tokens],
        label=_with_medians(tokens),
    )
    dress(axes, "tokens of an answer", "answers")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes, 2)
    return picture


def _draw_latencies(answered: BothAnswered) -> Figure:
    """Cumulative: how many answers were whole after so many seconds."""
    picture = new_figure(HALF_WIDTH)
    axes = picture.add_subplot()
    seconds = {which: sorted(answered.seconds(which)) for which in NAMES}
    labels = _with_medians(seconds, " s")
    for (which, values), label in zip(seconds.items(), labels, strict=True):
        times, counts = [0.0, *values], range(len(values) + 1)
        axes.step(
            times, counts, where="post", color=_COLOURS[which], linewidth=2, label=label, zorder=3
        )
    dress(axes, "seconds since the questions were asked", "answers that are there")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    legend_above(axes, 2)
    return picture


def _with_medians(values: Mapping[str, Sequence[float]], unit: str = "") -> list[str]:
    import statistics

    return [
        f"{NAMES[which]} (median {statistics.median(numbers):.3g}{unit})"
        for which, numbers in values.items()
    ]
