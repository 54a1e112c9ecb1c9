"""Attention within rows against one masked attention over all tokens."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from det_files import attention
from det_files.attention import row_attention
from det_files.cpu_attention import window_mask

LENGTHS = [5, 1, 9, 3]
STARTS = torch.tensor([0, 5, 6, 15, 18], dtype=torch.int32)
T, HEADS, KEY_HEADS, D = 18, 4, 2, 8


def inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [
        torch.randn(1, heads, T, D, generator=generator, requires_grad=True)
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]


def masked(tensors: list[torch.Tensor], window: int | None, scale: float | None) -> torch.Tensor:
    """The same by a mask of all tokens by all tokens: [1, T, Q, D]."""
    row = torch.repeat_interleave(torch.arange(4), torch.tensor(LENGTHS))
    here = torch.arange(T)
    mask = (row[:, None] == row) & (here[:, None] >= here)
    if window is not None:
        mask &= here[:, None] - here < window
    found = functional.scaled_dot_product_attention(
        *tensors, attn_mask=mask, scale=scale, enable_gqa=True
    )
    return found.transpose(1, 2)


@pytest.mark.parametrize("path", ["one operator", "row by row"])
@pytest.mark.parametrize("window", [None, 1, 4, 100])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_rows_attend_to_themselves(
    path: str, window: int | None, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "row by row":  # what other devices take for float32
        monkeypatch.setattr(
            attention,
            "attend_on_cpu",
            lambda *args, **options: attention._row_by_row(*args, 0.0, **options).transpose(1, 2),
        )
    mine, theirs = inputs(), inputs()
    options = {"scaling": scale, "sliding_window": window}
    found, weights = row_attention(
        SimpleNamespace(), *mine, None, cu_seq_lens_q=STARTS, max_length_q=9, **options
    )
    wanted = masked(theirs, window, scale)
    assert weights is None
    torch.testing.assert_close(found, wanted)
    gradient = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    found.backward(gradient)
    wanted.backward(gradient)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_dropout_is_drawn_within_rows() -> None:
    """No operator on CPUs draws it, so that another path is taken."""
    torch.manual_seed(0)
    found, _ = row_attention(
        SimpleNamespace(), *inputs(), None, cu_seq_lens_q=STARTS, dropout=0.5, max_length_q=9
    )
    # A row of one token has its own value or nothing.
    value = inputs()[2][0, :, 5].repeat_interleave(2, dim=0)
    ratio = (found[0, 5] / value).unique()
    assert all(min(abs(r), abs(r - 2)) < 1e-4 for r in ratio.tolist())


def test_a_window_is_a_mask_only_where_it_cuts() -> None:
    cpu = torch.device("cpu")
    assert window_mask(4, None, cpu) is None
    assert window_mask(4, 4, cpu) is None
    assert window_mask(3, 2, cpu).tolist() == [
        [True, False, False],
        [True, True, False],
        [False, True, True],
    ]


def test_the_operators_keep_the_contract_of_custom_operators() -> None:
    query, key, value = inputs()
    torch.library.opcheck(
        torch.ops.det_files.row_attention.default, (query, key, value, STARTS, 0.3, 4)
    )


def test_torchs_attention_for_rows_on_gpus_takes_these_arguments() -> None:
    from torch.nn.attention.varlen import varlen_attn

    parameters = inspect.signature(varlen_attn).parameters
    names = ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert list(parameters)[:7] == names
    assert {"scale", "window_size", "enable_gqa"} <= set(parameters)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("window", [None, 4])
def test_rows_attend_to_themselves_on_a_gpu(window: int | None) -> None:
    tensors = [tensor.detach().cuda().bfloat16() for tensor in inputs()]
    options = {"cu_seq_lens_q": STARTS.cuda(), "max_length_q": 9, "sliding_window": window}
    found, _ = row_attention(SimpleNamespace(), *tensors, None, **options)
    wanted = masked(inputs(), window, None)
    torch.testing.assert_close(found.float().cpu(), wanted, atol=0.02, rtol=0.02)
