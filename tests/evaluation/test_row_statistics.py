"""Scores from sums of rows, alone and several at once."""

import math

import numpy as np
import pytest

from det_files.evaluation.edit_counts import EditCounts
from det_files.evaluation.row_statistics import (
    RowStatistics,
    f_scores,
    means,
    perplexities,
    precisions,
    ratios,
    recalls,
    shares,
)


def test_means_ratios_and_shares() -> None:
    assert means([1.0, 2.0, 6.0], scale=10).value == pytest.approx(30.0)
    assert ratios([1, 3], [2, 6]).value == pytest.approx(0.5)
    assert shares([True, False, False, True], 100).value == pytest.approx(50.0)
    assert shares([True], 100).share_of == 100
    assert means([1.0]).share_of is None


def test_a_perplexity_weighs_tokens_and_not_rows() -> None:
    found = perplexities([2.0, 30.0], [1, 9])
    assert found.value == pytest.approx(math.exp(3.2))
    assert perplexities([1e6], [1]).value == pytest.approx(math.exp(700))


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 0, 3), (0, 3, 0), (0, 2, 3), (2, 3, 8)])
def test_counts_of_edits(counts: tuple[int, int, int]) -> None:
    expected, rows = EditCounts(*counts), np.array([counts])
    assert f_scores(rows).value == pytest.approx(expected.f_score())
    assert f_scores(rows, beta=1.0).value == pytest.approx(expected.f_score(1.0))
    assert precisions(rows).value == pytest.approx(expected.precision)
    assert recalls(rows).value == pytest.approx(expected.recall)


@pytest.mark.parametrize("make", [f_scores, precisions, recalls])
def test_several_sums_at_once(make: object) -> None:
    rows = np.random.default_rng(1).integers(0, 3, size=(5, 3))
    found: RowStatistics = make(rows)  # type: ignore[operator]
    each = [float(found.score(row)) for row in found.rows]
    assert found.score(found.rows).tolist() == pytest.approx(each)


def test_no_rows_have_no_score() -> None:
    with pytest.raises(ValueError, match="no rows"):
        _ = means([]).value
