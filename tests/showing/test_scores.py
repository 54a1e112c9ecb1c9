"""The task's own score comes first, with numbers of bootstrap and marks of each answer."""

from __future__ import annotations

import pytest
from both_answered import answered

from det_files.evaluation.bootstrap import compare, estimate
from det_files.evaluation.row_statistics import shares
from det_files.showing.scores import compare_scores, right_or_wrong
from det_files.trained.model import BASE, TUNED


def test_json_is_compared_by_its_value() -> None:
    both = answered(
        ['{"a": 1}', '{"a": 2}', '{"a": 3}'],
        ["no …", "no", '{"a": 3}'],
        ['{"a":1}', '{"a": 2}', '{"a": 4}'],
    )
    first, *others = compare_scores(both, seed=3)
    assert first.title == "exact match, %"
    base, tuned = shares([False, False, True], 100), shares([True, True, False], 100)
    assert (first.base, first.tuned) == (estimate(base, seed=3), estimate(tuned, seed=3))
    assert first.difference == compare(base, tuned, seed=3)
    by_title = {score.title: score for score in others}
    assert by_title["cut off, %"].base.value == pytest.approx(100 / 3)
    assert by_title["answer tokens"].tuned.value == pytest.approx((7 + 8 + 8) / 3)
    assert right_or_wrong(both, TUNED) == [True, True, False]
    assert right_or_wrong(both, BASE) == [False, False, True]


def test_nothing_asked_is_nothing_compared() -> None:
    with pytest.raises(ValueError, match="nothing was asked"):
        compare_scores(answered([], [], []))


def test_solutions_are_compared_by_their_number() -> None:
    both = answered(["So 2\n#### 2", "#### 1,000"], ["It is 2.", "5"], ["#### 3", "#### 1000"])
    first = compare_scores(both)[0]
    assert first.title == "final answer flexible, %"
    assert (first.base.value, first.tuned.value) == (50, 50)
    assert right_or_wrong(both, BASE) == [True, False]


def test_texts_are_compared_by_characters_and_marked_where_they_are_equal() -> None:
    both = answered(["a red cat", "a dog"], ["a red cat", "x"], ["a red hat", "a dog "])
    assert compare_scores(both)[0].title == "chrf, %"
    assert right_or_wrong(both, TUNED) == [None, True]


def test_questions_without_a_right_answer_have_no_marks() -> None:
    both = answered([None], ["a"], ["b"])
    assert right_or_wrong(both, BASE) == [None]
    assert {score.title for score in compare_scores(both)} == {
        "answer characters",
        "answer tokens",
        "cut off, %",
    }
