"""Packing: every row once, no block too full, next to no room left, proportions kept nearby."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from det_files.data.mixture import MixtureOrder
from det_files.data.packing import Blocks, pack
from det_files.data.tokenization import Example

GSM8K = Path("../shared/data/gsm8k/train/train.jsonl")


class Rows:
    """Rows of given lengths, as Examples are; a row's tokens are its number."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Example:
        ids = torch.full((int(self.lengths[index]),), index)
        return {"input_ids": ids, "labels": ids}


def random_lengths(count: int, seed: int = 0) -> np.ndarray:
    """Lengths like GSM8K's: about 220 tokens, some several times as long."""
    return np.random.default_rng(seed).gamma(7.0, 32.0, count).astype(int).clip(8, 1000)


def test_the_longest_row_opens_a_block_and_what_fits_best_closes_it() -> None:
    assert pack([6, 5, 5, 4, 3, 2], 10) == [[0, 3], [1, 5, 4], [2]]
    assert pack([5, 5, 5], 10) == [[0, 1], [2]]
    assert pack([10, 1], 10) == [[0], [1]]
    assert pack([3, 3, 4, 3, 3, 4], 10) == [[2, 0, 1], [5, 3, 4]]
    assert pack([], 10) == []
    with pytest.raises(ValueError, match="row 1 has 11 tokens, a block 10"):
        pack([1, 11], 10)


@pytest.mark.parametrize("capacity", [1024, 2048, 4096])
def test_every_row_once_and_blocks_nearly_full(capacity: int) -> None:
    lengths = random_lengths(7000)
    blocks = pack(lengths.tolist(), capacity)
    assert sorted(row for block in blocks for row in block) == list(range(7000))
    sums = np.array([lengths[block].sum() for block in blocks])
    assert sums.max() <= capacity
    assert lengths.sum() / (len(blocks) * capacity) >= 0.99


def test_blocks_of_an_epoch_hold_each_row_once_in_another_order_each_epoch() -> None:
    rows = Rows(random_lengths(500))
    blocks = Blocks(rows, MixtureOrder([500], None), 1024, seed=3)
    first, second = blocks.order(3, 0), blocks.order(3, 1)
    assert blocks.rows == len(blocks) == len(first)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(blocks)))
    assert first.tolist() != second.tolist()
    assert first.tolist() == blocks.order(3, 0).tolist()
    seen = [int(row["input_ids"][0]) for i in first for row in blocks[int(i)]]
    assert sorted(seen) == list(range(500))
    assert seen == [row for i in first for row in blocks.row_numbers(int(i))]
    sums = [sum(len(row["input_ids"]) for row in blocks[i]) for i in range(len(blocks))]
    assert blocks.lengths.tolist() == sums
    assert blocks.fill == pytest.approx(sum(sums) / (len(blocks) * 1024))


def test_a_mixture_keeps_its_proportions_over_any_thousand_samples() -> None:
    sizes = [3000, 9000, 2000]
    rows = Rows(random_lengths(sum(sizes)))
    order = MixtureOrder(sizes, [0.5, 0.3, 0.2])
    blocks = Blocks(rows, order, 1024, seed=1, mixture=True)
    assert blocks.fill >= 0.99
    for epoch in range(2):
        seen = [row for i in blocks.order(1, epoch) for row in blocks.row_numbers(int(i))]
        source = np.digitize(np.array(seen), np.cumsum(sizes))
        for number, share in enumerate([0.5, 0.3, 0.2]):
            counts = np.concatenate([[0], np.cumsum(source == number)])
            shares = (counts[1000:] - counts[:-1000]) / 1000
            assert np.abs(shares - share).max() <= 0.02


@pytest.mark.parametrize(("sizes", "weights"), [([10, 400], [0.5, 0.5]), ([50, 300], [0.9, 0.1])])
def test_rows_that_come_again_are_packed_again(sizes: list[int], weights: list[float]) -> None:
    rows = Rows(random_lengths(sum(sizes)))
    order = MixtureOrder(sizes, weights, "all_exhausted")
    blocks = Blocks(rows, order, 1024, seed=1, mixture=True)
    seen = [row for i in blocks.order(1, 0) for row in blocks.row_numbers(int(i))]
    assert sorted(seen) == sorted(order.order(1, 0).tolist())
    assert set(seen) == set(range(sum(sizes)))


def test_gsm8k_fills_at_least_99_per_cent() -> None:
    if not GSM8K.is_file():
        pytest.skip(f"{GSM8K} is not there: real data for this test")
    # Three characters a token, about; what counts is how lengths are spread.
    with GSM8K.open() as stream:
        records = [json.loads(line) for line in stream]
    lengths = np.array([(len(r["input"]) + len(r["output"])) // 3 + 40 for r in records])
    blocks = Blocks(Rows(lengths), MixtureOrder([len(lengths)], None), 1024, seed=42)
    assert blocks.fill >= 0.99
