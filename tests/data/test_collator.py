"""Padding is on the right, unattended and unlearned, whatever its token id."""

import pytest

from det_files.data.collator import PaddingCollator


@pytest.mark.parametrize("pad", [0, 9])  # 9 is also a token of the rows
def test_rows_are_padded_to_the_longest(pad: int) -> None:
    batch = PaddingCollator(pad)(
        [
            {"input_ids": [5, 6, 9], "labels": [-100, 6, 9]},
            {"input_ids": [7, 9], "labels": [-100, 9]},
        ]
    )
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 9], [7, 9, pad]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "labels": [[-100, 6, 9], [-100, 9, -100]],
    }
    assert {str(tensor.dtype) for tensor in batch.values()} == {"torch.int64"}
