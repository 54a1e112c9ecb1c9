"""Curves over steps: few, each in its colour; many, the best one over the others."""

from typing import Any

import pytest

from det_files.local.canvas import BEST, FADED
from det_files.local.pictures import Curve, draw_curves


def curves(count: int, best: int | None, scale: float = 1.0) -> list[Curve]:
    return [
        Curve(
            f"trial {n}", [1, 2, 3], [scale * (9 + n), scale * 4, scale * (1 + n / 10)], n == best
        )
        for n in range(1, count + 1)
    ]


def lines(figure: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_few_curves_are_named_and_of_different_colours() -> None:
    figure = draw_curves(curves(8, 2), "loss")
    assert legend(figure) == [f"trial {n}" for n in range(1, 9)]
    assert len({line.get_color() for line in lines(figure).values()}) == 8


def test_of_many_the_best_stands_out() -> None:
    figure = draw_curves(curves(64, 7), "loss")
    assert legend(figure) == ["trial 7 (best)", "63 others"]
    drawn = lines(figure)
    assert drawn["trial 7 (best)"].get_color() == BEST
    assert drawn["trial 7 (best)"].get_zorder() > drawn["_trial 8"].get_zorder()
    assert drawn["_trial 8"].get_color() == FADED
    assert legend(draw_curves(curves(64, None), "loss")) == ["64 trials"]


@pytest.mark.parametrize("smaller", [True, False])
def test_of_many_a_diverged_one_does_not_press_down_the_others(smaller: bool) -> None:
    sign = 1 if smaller else -1
    many = [*curves(20, 3, sign), Curve("trial 21", [1, 2, 3], [sign * v for v in (9, 99, 999)])]
    low, high = draw_curves(many, "loss", smaller_is_better=smaller).axes[0].get_ylim()
    assert max(abs(low), abs(high)) < 40
    low, high = draw_curves(many, "loss").axes[0].get_ylim()
    assert max(abs(low), abs(high)) > 900
