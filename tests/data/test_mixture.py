"""The order of a mixture: exact shares, every row in its turn, one epoch like another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from det_files.data.mixture import MixtureOrder


def sources_of(order: np.ndarray, sizes: list[int]) -> np.ndarray:
    return np.searchsorted(np.cumsum(sizes), order, side="right")


def worst_share(drawn: np.ndarray, shares: np.ndarray, window: int = 1000) -> float:
    """The largest difference of a source's share in any window from the one it should have."""
    worst = 0.0
    for source, share in enumerate(shares):
        count = np.concatenate([[0], np.cumsum(drawn == source)])
        worst = max(worst, float(np.abs((count[window:] - count[:-window]) / window - share).max()))
    return worst


@pytest.mark.parametrize("weights", [None, [3.0]])
def test_one_source_is_one_seeded_shuffle(weights: list[float] | None) -> None:
    mixture = MixtureOrder([1000], weights)
    generator = torch.Generator()
    generator.manual_seed((7 * 1_000_003 + 3) % 2**63)
    assert mixture.rows == 1000
    order = mixture.order(7, 3)
    assert order.dtype == np.int64
    assert order.tolist() == torch.randperm(1000, generator=generator).tolist()


def test_the_only_source_with_a_weight_is_as_one_alone() -> None:
    alone, among = MixtureOrder([50], None), MixtureOrder([20, 50, 0], [0, 1, 0])
    assert (among.order(1, 2) - 20).tolist() == alone.order(1, 2).tolist()


@pytest.mark.parametrize("count", [2, 3, 7, 40])
@pytest.mark.parametrize("stopping", ["first_exhausted", "all_exhausted"])
def test_shares_are_exact_in_every_window(count: int, stopping: str) -> None:
    rng = np.random.default_rng(count)
    sizes = rng.integers(200, 3000, count).tolist()
    shares = rng.dirichlet(np.full(count, 3.0))
    mixture = MixtureOrder(sizes, shares.tolist(), stopping)
    epochs = max(2, 3000 // mixture.rows)
    drawn = np.concatenate([sources_of(mixture.order(1, e), sizes) for e in range(epochs)])
    assert worst_share(drawn, shares) < 0.02


def test_without_weights_each_row_comes_once_and_shares_are_those_of_the_rows() -> None:
    sizes = [5000, 300, 1700]
    mixture = MixtureOrder(sizes, None, "all_exhausted")
    order = mixture.order(5, 0)
    assert mixture.rows == 7000
    assert sorted(order.tolist()) == list(range(7000))
    assert worst_share(sources_of(order, sizes), np.array(sizes) / 7000) < 0.02


def test_first_exhausted_repeats_no_row_and_uses_one_source_up() -> None:
    sizes = [100, 1000]
    mixture = MixtureOrder(sizes, [0.25, 0.75])
    order = mixture.order(1, 0)
    assert abs(mixture.rows - 400) <= 2
    assert len(set(order.tolist())) == len(order)
    assert set(range(100)) <= set(order.tolist())


def test_all_exhausted_sees_every_row_and_shuffles_anew_what_ran_out() -> None:
    sizes = [10, 300]
    mixture = MixtureOrder(sizes, [0.5, 0.5], "all_exhausted")
    order = mixture.order(1, 0)
    assert mixture.rows == 600
    assert set(order.tolist()) == set(range(310))
    small = order[order < 10].reshape(-1, 10)
    assert all(sorted(part.tolist()) == list(range(10)) for part in small)
    assert len({tuple(part.tolist()) for part in small}) > 1


def test_equal_sources_are_used_up_together() -> None:
    for stopping in ("first_exhausted", "all_exhausted"):
        assert MixtureOrder([10, 10], [1, 1], stopping).rows == 20


def test_orders_depend_on_the_seed_and_the_epoch_alone() -> None:
    orders = {
        tuple(MixtureOrder([40, 60], [0.3, 0.7]).order(seed, epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9
    first, again = (MixtureOrder([40, 60], [0.3, 0.7]).order(2**70, 5) for _ in range(2))
    assert first.tolist() == again.tolist()
    lengths = {len(MixtureOrder([40, 60], [0.3, 0.7]).order(1, epoch)) for epoch in range(5)}
    assert len(lengths) == 1


def test_a_source_of_weight_0_is_never_drawn() -> None:
    mixture = MixtureOrder([30, 30, 30], [1, 0, 2], "all_exhausted")
    assert not set(range(30, 60)) & set(mixture.order(0, 0).tolist())


@pytest.mark.parametrize(
    ("sizes", "weights", "stopping", "reason"),
    [
        ([1, 2], [1.0], "first_exhausted", "no mixture"),
        ([1, 2], [1.0, -1.0], "first_exhausted", "no mixture"),
        ([1, 2], [0.0, 0.0], "first_exhausted", "no mixture"),
        ([], None, "first_exhausted", "no mixture"),
        ([1, 0], [1.0, 1.0], "first_exhausted", "has no rows"),
        ([1, 1], None, "never", "stopping is one of"),
        ([5, 5], [1.0, 1e-14], "all_exhausted", "an epoch would have more than"),
    ],
)
def test_what_is_no_mixture_is_refused(
    sizes: list[int], weights: list[float] | None, stopping: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        MixtureOrder(sizes, weights, stopping)
