"""Intervals and comparisons: against theory, against plain resampling, and the same for a seed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from det_files.evaluation import bootstrap
from det_files.evaluation.bootstrap import compare, estimate
from det_files.evaluation.estimates import estimate_share
from det_files.evaluation.row_statistics import f_scores, means, perplexities, shares
from det_files.evaluation.text_metrics import text_statistics


def test_a_means_interval_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=1500)
    found = estimate(means(values), resamples=4000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)
    narrower = estimate(means(values), resamples=4000, confidence=0.5)
    assert narrower.high - narrower.low == pytest.approx(0.6745 / 1.96 * 2 * half, rel=0.06)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(300):
        losses = generator.exponential(2.0, size=80)
        found = estimate(perplexities(losses, np.ones(80)), resamples=400, seed=seed)
        held += found.low <= math.exp(2.0) <= found.high
    assert 0.89 <= held / 300 <= 0.98


def test_resamples_are_scores_of_rows_drawn_with_replacement() -> None:
    """Of two rows there are four equally likely draws: the score's distribution is known."""
    losses, tokens = [1.0, 9.0], [1, 3]
    statistics = perplexities(losses, tokens)
    sums = bootstrap._resampled(statistics.rows, 4000, seed=3)
    scores = [round(float(x), 6) for x in statistics.score(sums)]
    draws = [(losses[i] + losses[j]) / (tokens[i] + tokens[j]) for i, j in ((0, 0), (0, 1), (1, 1))]
    expected = [round(math.exp(x), 6) for x in draws]
    assert set(scores) == set(expected)
    shares_of = [scores.count(x) / 4000 for x in expected]
    assert shares_of == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_a_share_has_wilsons_interval() -> None:
    found = estimate(shares([False] * 200, 100))
    assert found == estimate_share(0, 200, scale=100)
    assert found.high > 1.8


def test_the_same_seed_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    first, second = means(generator.normal(size=90)), means(generator.normal(size=90))
    assert estimate(first, seed=1) == estimate(first, seed=1) != estimate(first, seed=2)
    found = compare(first, second, seed=1)
    assert found == compare(first, second, seed=1) != compare(first, second, seed=2)
    whole = bootstrap._resampled(first.rows, 50, seed=1)
    monkeypatch.setattr(bootstrap, "_PART", 1000)  # in more parts
    assert bootstrap._resampled(first.rows, 50, seed=1) == pytest.approx(whole)


def test_the_p_value_is_that_of_all_exchanges() -> None:
    """Eight rows have 256 ways to change sides; all of them are counted here."""
    generator = np.random.default_rng(5)
    first = np.stack([generator.integers(0, 3, 8), np.full(8, 3), np.full(8, 4)], axis=1)
    second = np.stack([generator.integers(1, 4, 8), np.full(8, 3), np.full(8, 4)], axis=1)
    found = compare(f_scores(first), f_scores(second), resamples=20_000)

    def difference(mine: np.ndarray, other: np.ndarray) -> float:
        return f_scores(other).value - f_scores(mine).value

    observed = difference(first, second)
    exchanged = []
    for coins in itertools.product([False, True], repeat=8):
        coin = np.array(coins)[:, None]
        exchanged.append(difference(np.where(coin, second, first), np.where(coin, first, second)))
    exact = np.mean(np.abs(exchanged) >= abs(observed) - 1e-12)
    assert 0.01 < exact < 0.9
    assert found.value == pytest.approx(observed)
    assert found.p_value == pytest.approx(exact, abs=0.015)


def test_pairs_are_compared_row_by_row() -> None:
    """A small but steady gain is seen although rows differ far more from one another."""
    generator = np.random.default_rng(6)
    hard = generator.normal(size=400)
    better = hard + 0.1 + 0.2 * generator.normal(size=400)
    found = compare(means(hard), means(better))
    assert 0.0 < found.low < 0.1 < found.high < 0.2
    assert found.p_value < 0.01
    unpaired = compare(means(hard), means(generator.permutation(better)))
    assert unpaired.low < 0.0 < unpaired.high
    assert unpaired.p_value > 0.05
    turned = compare(means(better), means(hard))
    assert (turned.value, turned.low, turned.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )


def test_models_that_are_alike_do_not_differ() -> None:
    same = means([1.0, 0.0, 1.0])
    found = compare(same, same)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    generator = np.random.default_rng(7)
    pairs = [(generator.normal(size=50), generator.normal(size=50)) for _ in range(200)]
    p_values = [compare(means(a), means(b), resamples=300).p_value for a, b in pairs]
    assert 0.02 <= np.mean(np.array(p_values) <= 0.1) <= 0.18


def test_scores_of_a_corpus_of_texts() -> None:
    references = [f"the {word} cat sees two dogs" for word in ("red", "old", "new", "blue")] * 6
    worse = [text.replace("cat", "cow") if n % 3 else text for n, text in enumerate(references)]
    first, second = text_statistics(worse, references), text_statistics(references, references)
    for name in ("rougeL", "bleu", "chrf"):
        found = estimate(first[name], resamples=300)
        assert found.low < found.value < found.high < 100, name
        difference = compare(first[name], second[name], resamples=300)
        assert difference.value == pytest.approx(100 - found.value), name
        assert difference.low > 0, name
        assert difference.p_value < 0.02, name


def test_rows_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="against"):
        compare(means([1.0]), means([1.0, 2.0]))
    with pytest.raises(ValueError, match="no rows"):
        estimate(means([]))
