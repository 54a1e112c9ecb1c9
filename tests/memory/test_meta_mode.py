"""Bytes on the meta device live as long as real ones would."""

from contextlib import nullcontext

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from det_files.memory.meta_mode import LiveBytes, counted_on_meta

HEADS, LENGTH, SIZE = 8, 256, 16
SCORES = HEADS * LENGTH * LENGTH


def test_live_bytes_follow_storages_and_not_views() -> None:
    with LiveBytes() as counter:
        first = torch.empty(100, device="meta")
        view = first.view(10, 10)[2:]
        second = first + 1
        assert counter.live == 800
        del second
        assert (counter.live, counter.peak) == (400, 800)
        del first
        assert counter.live == 400  # the view holds it
        del view
        assert counter.live == 0


def attention_keeps(
    dtype: torch.dtype,
    device: str = "cuda",
    shared: bool = True,
    autocast: torch.dtype | None = None,
    biased: bool = False,
) -> int:
    """Bytes that causal attention saves for its backward pass, its inputs aside.

    If `shared`, two heads of queries share one of keys; if `biased`, numbers are added to scores.
    """
    keys = HEADS // 2 if shared else HEADS
    with torch.device("meta"):
        query = torch.empty(1, HEADS, LENGTH, SIZE, dtype=dtype, requires_grad=True)
        key = torch.empty(1, keys, LENGTH, SIZE, dtype=dtype, requires_grad=True)
        value = torch.empty(1, keys, LENGTH, SIZE, dtype=dtype, requires_grad=True)
        bias = torch.empty(1, HEADS, LENGTH, LENGTH, dtype=dtype) if biased else None
    counter = LiveBytes()
    counter.ignore([query, key, value, *([] if bias is None else [bias])])
    with counted_on_meta(counter, autocast, padded=False, device=device):
        found = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, bias, is_causal=not biased, enable_gqa=shared
        )
        assert found.shape == query.shape
        return counter.live


def test_shared_keys_in_float32_keep_all_scores_on_a_gpu() -> None:
    # Beside scores: scaled queries, keys and values repeated for each head, the result.
    assert attention_keeps(torch.float32) == 4 * (SCORES + 4 * HEADS * LENGTH * SIZE)
    fused = 4 * HEADS * LENGTH * (SIZE + 1)  # the result, and a number a token and head
    assert attention_keeps(torch.float32, shared=False) == fused
    assert attention_keeps(torch.float32, device="cpu") == fused
    assert attention_keeps(torch.bfloat16) == fused - 2 * HEADS * LENGTH * SIZE


def test_autocast_reaches_attention_and_what_is_added_to_scores() -> None:
    found = attention_keeps(torch.float32, autocast=torch.bfloat16)
    # Copies of queries, keys and values, the result, and a float32 a token and head.
    copies = HEADS * LENGTH * (2 * (SIZE + 2 * SIZE // 2 + SIZE) + 4)
    assert found == copies
    biased = attention_keeps(torch.float32, autocast=torch.bfloat16, biased=True)
    assert biased == copies + 2 * SCORES


@pytest.mark.parametrize("raises", [False, True])
def test_attention_is_torchs_own_again_afterwards(raises: bool) -> None:
    with (
        pytest.raises(ValueError) if raises else nullcontext(),
        counted_on_meta(LiveBytes(), None, padded=False, device="cuda"),
    ):
        assert torch.nn.functional.scaled_dot_product_attention is not scaled_dot_product_attention
        if raises:
            raise ValueError
    assert torch.nn.functional.scaled_dot_product_attention is scaled_dot_product_attention
