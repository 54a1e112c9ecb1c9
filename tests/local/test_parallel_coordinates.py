"""The axes of parallel coordinates and the lines of the trials."""

from typing import Any

import pytest
from matplotlib.colors import to_rgb

from det_files.local.canvas import BEST, FAILED
from det_files.local.parallel_coordinates import (
    COLOUR_MAP,
    LACKING,
    draw_parallel_coordinates,
    rank_colour,
    wrapped,
)
from det_files.local.search_rows import TrialRow

ROWS = [
    TrialRow(1, "COMPLETED", {"a.lr": 1e-5, "b.method": "lora", "b.r": 8}, best=1.0),
    TrialRow(2, "COMPLETED", {"a.lr": 1e-4, "b.method": "full"}, best=1.5),
    TrialRow(3, "COMPLETED", {"a.lr": 1e-3, "b.method": "lora", "b.r": 16}, best=2.0),
    TrialRow(4, "ERROR", {"a.lr": 1e-3, "b.method": "lora", "b.r": 16}),
    TrialRow(5, "RUNNING", {"a.lr": 1e-3, "b.method": "lora", "b.r": 16}),
]


def lines(figure: Any) -> dict[str, Any]:
    drawn = figure.axes[0].get_lines()
    return {line.get_label(): line for line in drawn if line.get_label().startswith("trial")}


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(("smaller", "ends"), [(True, [1.0, 0.5, 0.0]), (False, [0.0, 0.5, 1.0])])
def test_the_better_end_of_the_metric_is_up(smaller: bool, ends: list[float]) -> None:
    figure = draw_parallel_coordinates(ROWS, "m", smaller, 1 if smaller else 3)
    drawn = lines(figure)
    assert set(drawn) == {"trial 1", "trial 2", "trial 3", "trial 4"}  # 5 has yet to be measured
    heights = [drawn[f"trial {n}"].get_ydata()[-1] for n in (1, 2, 3)]
    assert heights == pytest.approx(ends)
    assert {"lr", "method", "r", "m"} <= set(texts(figure))


def test_a_line_passes_through_its_values() -> None:
    drawn = lines(draw_parallel_coordinates(ROWS, "m", True, 1))
    lr, method, r, _ = drawn["trial 2"].get_ydata()
    assert lr == pytest.approx(0.5)  # two decades: logarithmic
    assert method == pytest.approx(0.0, abs=0.05)  # "full", a little spread
    assert r == LACKING
    assert drawn["trial 4"].get_ydata()[-1] == LACKING
    assert drawn["trial 4"].get_color() == FAILED


def test_the_best_trial_is_over_the_others_and_better_ones_are_darker() -> None:
    drawn = lines(draw_parallel_coordinates(ROWS, "m", True, 1))
    assert drawn["trial 1"].get_color() == BEST
    assert drawn["trial 1"].get_zorder() > max(drawn[f"trial {n}"].get_zorder() for n in (2, 3, 4))
    assert sum(to_rgb(drawn["trial 2"].get_color())) < sum(to_rgb(drawn["trial 3"].get_color()))


def test_colours_are_by_rank() -> None:
    ranks = [0.0, 0.9, 1.0]
    assert rank_colour(0.9, ranks) == COLOUR_MAP(0.5)
    assert rank_colour(1.0, ranks) == COLOUR_MAP(1.0)
    assert rank_colour(0.3, [0.3]) == COLOUR_MAP(1.0)


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:1],
        ROWS[3:4],
        [TrialRow(n, "ERROR", {"a": 1, "b": None}) for n in (1, 2)],
        [TrialRow(n, "COMPLETED", {"a": 1.0, "b": "x"}, best=2.0) for n in (1, 2)],
        [TrialRow(n, "COMPLETED", {"a": float("nan"), "b": n}, best=2.0) for n in (1, 2)],
    ],
)
def test_one_trial_failed_ones_and_constants_are_drawn(rows: list[TrialRow]) -> None:
    figure = draw_parallel_coordinates(rows, "m", True, None)
    assert len(lines(figure)) == len(rows)
    figure.canvas.draw()


def test_without_hyperparameters_or_trials_there_is_no_picture() -> None:
    assert draw_parallel_coordinates([], "m", True, None) is None
    assert draw_parallel_coordinates(ROWS[4:], "m", True, None) is None
    assert draw_parallel_coordinates([TrialRow(1, "COMPLETED", best=1.0)], "m", True, 1) is None


def test_names_are_broken_where_words_end() -> None:
    assert wrapped("per_device_train_batch_size", 16) == "per_device_\ntrain_batch_size"
    assert wrapped("r", 3) == "r"


def test_no_texts_of_many_trials_and_hyperparameters_overlap() -> None:
    rows = [
        TrialRow(
            n,
            "COMPLETED",
            {
                f"a.rather_long_name_{p}": f"value-{n % 5}-of-some-length" if p % 2 else n * 1e-5
                for p in range(8)
            },
            best=1 + 1 / n,
        )
        for n in range(1, 65)
    ]
    figure = draw_parallel_coordinates(rows, "eval_loss", True, 64)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 40
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
