"""What the picture of a halving search draws: paths, ends, rungs and their counts."""

from typing import Any

import pytest

from det_files.local.canvas import BEST, FAILED
from det_files.local.metrics import Row
from det_files.local.rung_pictures import draw_rungs, path_points
from det_files.local.search_pictures import STOPPED
from det_files.local.search_rows import row_of

from .searches import METRIC, entry, halved, summary_of, validations

RUNGS = [6, 25, 100]
TRIALS = [
    halved(1, [2.5, 2.0, 1.5], RUNGS),
    halved(2, [2.75], RUNGS),
    halved(3, [2.5, None], RUNGS),
    halved(4, [2.25, 1.75], RUNGS[1:], bracket=1),
    entry(5, None, state="QUEUED", bracket=1, rungs=[], stopped_at=None),
]
BRACKETS = [{"rungs": RUNGS, "trials": 3}, {"rungs": RUNGS[1:], "trials": 2}]


def draw(
    trials: list[dict[str, Any]], smaller: bool = True, brackets: Any = BRACKETS, **rows
) -> Any:
    summary = summary_of(trials, smaller, brackets=brackets)
    reported = {int(name[1:]): of_trial for name, of_trial in rows.items()}
    of_trials = [row_of(trial, METRIC) for trial in trials]
    best = summary["best_trial"]
    return draw_rungs(of_trials, reported, summary["search"], summary["searcher"], best)


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_each_bracket_has_a_panel_with_its_trials_and_rungs() -> None:
    figure = draw(TRIALS)
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == [
        "bracket 0: 3 trials",
        "bracket 1: 2 trials",
    ]
    assert list(first.get_xticks()) == RUNGS
    assert [label.get_text() for label in second.get_xticklabels()] == ["25", "100"]
    assert [text.get_text() for text in first.texts] == ["3 → 2", "2 → 1", "1"]
    assert [text.get_text() for text in second.texts] == ["1 → 1", "1"]
    assert first.get_xscale() == "log"
    assert first.get_ylim() == second.get_ylim()
    assert (first.get_xlabel(), first.get_ylabel()) == ("batches", METRIC)


def test_paths_end_where_the_trial_was_stopped_or_failed() -> None:
    drawn = lines(draw(TRIALS).axes[0])
    assert list(drawn["trial 1"].get_xdata()) == RUNGS
    assert drawn["trial 1"].get_color() == BEST
    assert list(drawn["end of trial 2"].get_xdata()) == [6]
    assert drawn["end of trial 2"].get_color() == STOPPED
    failed = drawn["end of trial 3"]
    assert (failed.get_marker(), failed.get_color()) == ("x", FAILED)
    assert list(failed.get_xdata()) == [25]
    assert failed.get_ydata()[0] > 2.75  # counts as the worst


def test_with_larger_as_better_failures_stand_at_the_bottom() -> None:
    drawn = lines(draw(TRIALS, smaller=False).axes[0])
    assert drawn["end of trial 3"].get_ydata()[0] < 1.5


def test_validations_between_the_rungs_belong_to_the_path() -> None:
    drawn = lines(draw(TRIALS, t1=validations({3: 2.9, 6: 9.0, 50: 1.75})).axes[0])
    path = list(zip(*drawn["trial 1"].get_data(), strict=True))
    assert path == [(3, 2.9), (6, 2.5), (25, 2.0), (50, 1.75), (100, 1.5)]


def test_epochs_are_read_from_the_rows() -> None:
    row = row_of(entry(1, 1.0), METRIC)
    reported = [
        Row(1.0, "validation", 40, {METRIC: 2.0, "epochs": 0.5}),
        Row(1.0, "validation", 80, {METRIC: float("nan"), "epochs": 1.0}),
        Row(1.0, "training", 90, {METRIC: 1.0, "epochs": 1.1}),
    ]
    assert path_points(row, reported, METRIC, "epochs") == [(0.5, 2.0)]
    assert path_points(row, reported[:1], METRIC, "batches") == [(40, 2.0)]


def test_a_single_bracket_is_half_as_wide_and_has_no_title() -> None:
    one, two = draw(TRIALS[:3], brackets=BRACKETS[:1]), draw(TRIALS)
    assert len(one.axes) == 1
    assert one.axes[0].get_title(loc="left") == ""
    assert one.get_figwidth() < two.get_figwidth()


@pytest.mark.parametrize(
    ("trials", "brackets"),
    [
        ([], BRACKETS),
        (TRIALS, []),
        (TRIALS[4:], BRACKETS),
        ([halved(1, [None], RUNGS)], BRACKETS),
    ],
)
def test_without_values_or_brackets_there_is_no_picture(trials: Any, brackets: Any) -> None:
    assert draw(trials, brackets=brackets) is None


def test_one_rung_and_one_trial() -> None:
    figure = draw([halved(1, [2.0], [10])], brackets=[{"rungs": [10], "trials": 1}])
    assert [text.get_text() for text in figure.axes[0].texts] == ["1"]
    figure.canvas.draw()
