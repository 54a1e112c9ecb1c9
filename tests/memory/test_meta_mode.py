"""Bytes on the meta device live as long as real ones would."""

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
) -> int:
    """Bytes that attention saves for its backward pass; two heads of queries share one of keys."""
    keys = HEADS // 2 if shared else HEADS
    with torch.device("meta"):
        query = torch.empty(1, HEADS, LENGTH, SIZE, dtype=dtype, requires_grad=True)
        key = torch.empty(1, keys, LENGTH, SIZE, dtype=dtype, requires_grad=True)
        value = torch.empty(1, keys, LENGTH, SIZE, dtype=dtype, requires_grad=True)
    counter = LiveBytes()
    counter.ignore([query, key, value])
    with counted_on_meta(counter, autocast, padded=False, device=device):
        found = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=shared
        )
        assert found.shape == query.shape
        return counter.live


def test_shared_keys_in_float32_keep_all_scores_on_a_gpu() -> None:
    assert attention_keeps(torch.float32) > 4 * SCORES
    fused = 4 * HEADS * LENGTH * (SIZE + 1)  # the result, and a number a token and head
    assert attention_keeps(torch.float32, shared=False) == fused
    assert attention_keeps(torch.float32, device="cpu") == fused
    assert attention_keeps(torch.bfloat16) == fused - 2 * HEADS * LENGTH * SIZE


def test_autocast_reaches_attention() -> None:
    found = attention_keeps(torch.float32, autocast=torch.bfloat16)
    # Copies of queries, keys and values, the result, and a float32 a token and head.
    assert found == HEADS * LENGTH * (2 * (SIZE + 2 * SIZE // 2 + SIZE) + 4)


@pytest.mark.parametrize("raises", [False, True])
def test_attention_is_torchs_own_again_afterwards(raises: bool) -> None:
    with (
        pytest.raises(ValueError) if raises else LiveBytes(),
        counted_on_meta(LiveBytes(), None, padded=False, device="cuda"),
    ):
        assert torch.nn.functional.scaled_dot_product_attention is not scaled_dot_product_attention
        if raises:
            raise ValueError
    assert torch.nn.functional.scaled_dot_product_attention is scaled_dot_product_attention
