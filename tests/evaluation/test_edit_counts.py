"""Precision, recall and F of edits, with their conventions; and the choice among annotators."""

import pytest

from det_files.evaluation.edit_counts import (
    CorrectionScore,
    EditCounts,
    ScoredSentence,
    choose_annotator,
)


def test_precision_recall_and_f() -> None:
    counts = EditCounts(correct=2, proposed=3, gold=8)
    assert counts.precision == pytest.approx(2 / 3)
    assert counts.recall == pytest.approx(1 / 4)
    # (1 + β²)·P·R / (β²·P + R)
    assert counts.f_score() == pytest.approx(1.25 * (2 / 3) * 0.25 / (0.25 * (2 / 3) + 0.25))
    assert counts.f_score(beta=1.0) == pytest.approx(2 * (2 / 3) * 0.25 / (2 / 3 + 0.25))


@pytest.mark.parametrize(
    ("counts", "precision", "recall", "f_score"),
    [
        (EditCounts(0, 0, 0), 1.0, 1.0, 1.0),
        (EditCounts(0, 0, 3), 1.0, 0.0, 0.0),
        (EditCounts(0, 3, 0), 0.0, 1.0, 0.0),
        (EditCounts(0, 3, 3), 0.0, 0.0, 0.0),
    ],
)
def test_where_nothing_was_proposed_or_nothing_is_wrong(
    counts: EditCounts, precision: float, recall: float, f_score: float
) -> None:
    assert (counts.precision, counts.recall, counts.f_score()) == (precision, recall, f_score)


def test_the_annotator_is_chosen_by_the_f_of_all_sentences_so_far() -> None:
    noop, some = EditCounts(0, 0, 0), EditCounts(1, 1, 2)
    # Alone, changing nothing is perfect; behind nine errors, one right edit of two helps more.
    assert choose_annotator(EditCounts(), [some, noop]) == 1
    assert choose_annotator(EditCounts(1, 10, 10), [noop, some]) == 1


def test_ties_take_more_correct_edits_then_fewer_others_then_the_first() -> None:
    # F is 0 for all of these.
    choices = [EditCounts(0, 2, 3), EditCounts(0, 2, 1), EditCounts(0, 2, 1)]
    assert choose_annotator(EditCounts(), choices) == 1
    # F is 1 for both.
    assert choose_annotator(EditCounts(1, 1, 1), [EditCounts(0, 0, 0), EditCounts(2, 2, 2)]) == 1


def test_sums_and_rows() -> None:
    sentences = [EditCounts(1, 2, 3), EditCounts(0, 1, 0)]
    found = CorrectionScore(tuple(ScoredSentence(counts, 0, ()) for counts in sentences), beta=1.0)
    assert found.counts == EditCounts(1, 3, 3)
    assert found.f_score == EditCounts(1, 3, 3).f_score(beta=1.0)
    assert found.rows().tolist() == [[1, 2, 3], [0, 1, 0]]
    assert CorrectionScore(()).rows().shape == (0, 3)
