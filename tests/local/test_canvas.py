"""The ranges that leave out what is far off, and how axes write their values."""

import pytest

from det_files.local.canvas import format_values, new_figure, png, usual_curves_range, usual_range


def test_one_far_value_is_left_out_on_the_worse_side_only() -> None:
    values = [1.0, 1.1, 1.2, 1.3, 1.4, 50.0]
    assert usual_range(values, True) == (1.0, 1.4)
    assert usual_range(values, False) == (1.0, 50.0)  # the best one is never left out
    assert usual_range([-value for value in values], False) == (-1.4, -1.0)


@pytest.mark.parametrize("values", [[2.0], [2.0, 9.0], [2.0, 2.0, 2.0, 9.0], [1.0, 2.0, 3.0]])
def test_with_few_or_equal_values_nothing_is(values: list[float]) -> None:
    assert usual_range(values, True) == (min(values), max(values))


def test_curves_are_judged_by_their_ends() -> None:
    usual = [[9.0, 3.0, 1.0 + n / 10] for n in range(5)]
    assert usual_curves_range([*usual, [9.5, 30.0, 99.0]], True) == (1.0, 9.0)


@pytest.mark.parametrize(
    ("value", "text"), [(2.5e-4, "2.5e-4"), (1.25, "1.25"), (20_000.0, "20k"), (150.0, "150")]
)
def test_values_are_written_without_a_factor_over_the_axis(value: float, text: str) -> None:
    axes = new_figure().add_subplot()
    axes.plot([0, 1], [0, value])
    format_values(axes, [value])
    axes.set_yticks([value])
    axes.figure.canvas.draw()
    assert axes.get_yticklabels()[0].get_text() == text
    assert axes.yaxis.get_offset_text().get_text() == ""


def test_a_figure_becomes_a_png() -> None:
    assert png(new_figure()).startswith(b"\x89PNG")
