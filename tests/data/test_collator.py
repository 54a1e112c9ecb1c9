"""Batches: padded on the right, or rows end to end; in both, what belongs to which row and item."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from det_files.data.collator import (
    Item,
    PackingCollator,
    PaddingCollator,
    row_lengths,
    row_of_positions,
)


def row(ids: list[int], labels: list[int]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}


FIRST = row([5, 6, 9], [-100, 6, 9])
SECOND = row([7, 9], [-100, 9])
THIRD = row([3, 4, 8, 9], [3, 4, 8, 9])  # its first label has nothing to be predicted from


def as_lists(batch: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


@pytest.mark.parametrize("pad", [0, 9])  # 9 is also a token of the rows
def test_rows_are_padded_to_the_longest(pad: int) -> None:
    batch = PaddingCollator(pad)([FIRST, SECOND])
    assert as_lists(batch) == {
        "input_ids": [[5, 6, 9], [7, 9, pad]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "labels": [[-100, 6, 9], [-100, 9, -100]],
        "items": [0, 1],
    }
    assert {str(tensor.dtype) for tensor in batch.values()} == {"torch.int64"}
    assert row_lengths(batch).tolist() == [3, 2]
    assert row_of_positions(batch).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_rows_are_laid_end_to_end_with_positions_of_their_own() -> None:
    batch = PackingCollator(0)([FIRST, SECOND, THIRD])
    starts = [0, 3, 5, 9]
    assert as_lists(batch) == {
        "input_ids": [[5, 6, 9, 7, 9, 3, 4, 8, 9]],
        "labels": [[-100, 6, 9, -100, 9, -100, 4, 8, 9]],
        "position_ids": [[0, 1, 2, 0, 1, 0, 1, 2, 3]],
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": 4,
        "max_length_k": 4,
        "items": [0, 1, 2],
    }
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert THIRD["labels"][0] == 3  # what is collated is not changed
    assert row_lengths(batch).tolist() == [3, 2, 4]
    assert row_of_positions(batch).tolist() == [[0, 0, 0, 1, 1, 2, 2, 2, 2]]


def test_the_end_is_filled_up_by_a_row_that_nothing_owns() -> None:
    batch = PackingCollator(1, multiple=8)([FIRST, SECOND])
    assert batch["input_ids"].tolist() == [[5, 6, 9, 7, 9, 1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, 6, 9, -100, 9, -100, -100, -100]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5, 8]
    assert batch["items"].tolist() == [0, 1]
    assert row_lengths(batch).tolist() == [3, 2]  # padding is no token of a row
    assert row_of_positions(batch).tolist() == [[0, 0, 0, 1, 1, 2, 2, 2]]
    whole = PackingCollator(1, multiple=5)([FIRST, SECOND])
    assert whole["cu_seq_lens_q"].tolist() == [0, 3, 5]


@pytest.mark.parametrize("collator", [PaddingCollator(0), PackingCollator(0)])
def test_rows_of_a_block_belong_to_its_item(collator: PaddingCollator | PackingCollator) -> None:
    items: list[Item] = [[FIRST, SECOND], [THIRD]]
    batch = collator(items)
    assert batch["items"].tolist() == [0, 0, 1]
    flat = collator([FIRST, SECOND, THIRD])
    assert torch.equal(batch["input_ids"], flat["input_ids"])
