"""What the history and the panels of single hyperparameters draw."""

from typing import Any

import pytest

from det_files.local.canvas import BEST
from det_files.local.search_pictures import STOPPED, draw_history, draw_scatters
from det_files.local.search_rows import TrialRow


def rows_of(values: dict[int, float | None], **fields: Any) -> list[TrialRow]:
    return [TrialRow(n, "COMPLETED", {"a.r": 8}, best=v, **fields) for n, v in values.items()]


def points(figure: Any) -> dict[str, list[tuple[float, float]]]:
    """The series of the first axes by name."""
    return {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for line in figure.axes[0].get_lines()
        if not line.get_label().startswith("_")
    }


@pytest.mark.parametrize(("smaller", "steps"), [(True, [2.0, 1.0, 1.0]), (False, [2.0, 2.0, 3.0])])
def test_the_best_so_far_follows_the_direction(smaller: bool, steps: list[float]) -> None:
    figure = draw_history(rows_of({3: 3.0, 1: 2.0, 2: 1.0}), "m", smaller, 2 if smaller else 3)
    series = points(figure)
    assert series["completed"] == [(1, 2.0), (2, 1.0), (3, 3.0)]
    assert [value for _, value in series["best so far"]] == [*steps, steps[-1]]
    assert [t.get_text() for t in figure.axes[0].texts] == [f"best {steps[-1]:.4g}"]


def test_failed_stopped_and_unfinished_trials_are_told_apart() -> None:
    rows = [
        *rows_of({1: 1.0}),
        TrialRow(2, "ERROR"),
        TrialRow(3, "ERROR", best=1.5),
        TrialRow(4, "COMPLETED", best=1.25, stopped_at=6),
        TrialRow(5, "RUNNING", best=1.75),
        TrialRow(6, "RUNNING"),
        TrialRow(7, "QUEUED"),
        *rows_of({8: None}),
    ]
    figure = draw_history(rows, "m", True, 1)
    series = points(figure)
    low, high = figure.axes[0].get_ylim()
    assert [x for x, _ in series["failed"]] == [2, 3, 8]
    assert series["failed"][1] == (3, 1.5)
    assert 1.75 < series["failed"][0][1] < high  # the worse edge
    assert series["stopped early"] == [(4, 1.25)]
    assert series["not ended"] == [(5, 1.75)]
    assert low < 1.0


@pytest.mark.parametrize("smaller", [True, False])
def test_far_values_stand_at_the_worse_edge(smaller: bool) -> None:
    sign = 1 if smaller else -1
    values = {n: sign * (1 + n / 10) for n in range(1, 9)}
    rows = rows_of({**values, 9: sign * 500.0})
    figure = draw_history(rows, "m", smaller, 1)
    low, high = figure.axes[0].get_ylim()
    assert high - low < 3
    ((x, y),) = points(figure)["far worse"]
    assert x == 9 and low < y < high
    assert (y > 1.8) if smaller else (y < -1.8)


def test_nothing_measured_is_no_picture_and_one_trial_is_one() -> None:
    failed = [TrialRow(1, "ERROR", {"a.r": 8}), TrialRow(2, "QUEUED", {"a.r": 8})]
    assert draw_history(failed, "m", True, None) is None
    assert draw_scatters(failed, "m", True, None) is None
    assert draw_history([], "m", True, None) is None
    assert points(draw_history(rows_of({1: 2.0}), "m", True, 1))["completed"] == [(1, 2.0)]
    assert len(draw_scatters(rows_of({1: 2.0}), "m", True, 1).axes) == 1
    assert draw_scatters([TrialRow(1, "COMPLETED", best=1.0)], "m", True, 1) is None


def test_each_hyperparameter_has_a_panel_with_the_trials_that_have_it() -> None:
    rows = [
        TrialRow(1, "COMPLETED", {"a.lr": 1e-5, "b.r": 8, "b.method": "lora"}, best=1.0),
        TrialRow(2, "COMPLETED", {"a.lr": 1e-3, "b.method": "full"}, best=2.0, stopped_at=6),
        TrialRow(3, "COMPLETED", {"a.lr": 1e-4, "b.r": 16, "b.method": None}, best=1.5),
        TrialRow(4, "ERROR", {"a.lr": 1e-4, "b.r": 16, "b.method": "full"}),
    ]
    figure = draw_scatters(rows, "m", True, 1)
    panels = {axes.get_xlabel(): axes for axes in figure.axes}
    assert list(panels) == ["lr", "r", "method"]
    drawn = {
        name: {line.get_label(): line for line in axes.get_lines()} for name, axes in panels.items()
    }
    assert list(drawn["r"]) == ["trial 3", "trial 1"]  # the best one over the others
    assert drawn["lr"]["trial 3"].get_xdata()[0] == pytest.approx(0.5)  # logarithmic
    assert drawn["lr"]["trial 1"].get_color() == BEST
    assert drawn["lr"]["trial 2"].get_color() == STOPPED
    assert [t.get_text().strip() for t in panels["method"].get_xticklabels()] == [
        "full",
        "lora",
        "null",
    ]


def test_texts_below_many_panels_do_not_overlap() -> None:
    rows = [
        TrialRow(
            n,
            "COMPLETED",
            {f"a.p{p}": f"{n % 4}-rather-long-name" if p % 2 else n * 10.0**p for p in range(8)},
            best=float(n),
        )
        for n in range(1, 30)
    ]
    figure = draw_scatters(rows, "m", True, 1)
    figure.canvas.draw()
    assert len(figure.axes) == 8
    for axes in figure.axes:
        labels = axes.get_xticklabels()
        for in_second_row in (False, True):
            of_row = [t for t in labels if t.get_text().startswith("\n") == in_second_row]
            boxes = [label.get_window_extent() for label in of_row]
            assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
