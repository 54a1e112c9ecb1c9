"""Attention within the rows of a packed batch, never between them.

B = 1 batch of T tokens in n rows laid end to end; Q and K heads of queries and keys, D head size.
Where rows begin is said by `cu_seq_lens_q` [n + 1], the name that transformers' flash attention
uses, so that batches are the same whichever attention runs. Each row costs its own length squared;
a mask over all T tokens would cost T squared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from det_files.architectures import architecture_of
from det_files.cpu_attention import attend_on_cpu, window_mask

NAME = "rows"


def can_isolate_rows(model: PreTrainedModel) -> bool:
    """True where rows laid end to end are known not to see one another in this architecture."""
    known = architecture_of(model.config)
    return known is not None and known.rows_apart


def isolate_rows(model: PreTrainedModel) -> bool:
    """Prepares a model for packed batches; False where its architecture cannot have them.

    An attention that was asked for by name and knows rows itself (flash, flex) is left as it is.
    """
    if not can_isolate_rows(model):
        return False
    if model.config._attn_implementation in ("sdpa", "eager"):
        AttentionInterface.register(NAME, row_attention)
        AttentionMaskInterface.register(NAME, _mask)
        model.set_attn_implementation(NAME)
    return True


def _mask(*args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
    """SDPA's mask for padded batches; none for packed ones, which have no padding to mask."""
    if attention_mask is None:
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


def row_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of [1, Q, T, D] within rows → ([1, T, Q, D], None).

    Without `cu_seq_lens_q` it is transformers' SDPA attention.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    # Under autocast, rotary positions leave queries and keys in float32 beside bfloat16 values.
    query, key = query.to(value.dtype), key.to(value.dtype)
    options = {
        "scale": kwargs.get("scaling"),
        "window": kwargs.get("sliding_window"),
    }
    dropout = kwargs.get("dropout", 0.0)
    if not dropout and _has_kernel_for_rows(query):
        assert max_length_q is not None
        return _variable_length(query, key, value, cu_seq_lens_q, max_length_q, **options), None
    if query.device.type == "cpu" and not dropout:
        found = attend_on_cpu(query, key, value, cu_seq_lens_q, **options)
        return found.transpose(1, 2), None
    return _row_by_row(query, key, value, cu_seq_lens_q, dropout, **options), None


def _has_kernel_for_rows(tensor: torch.Tensor) -> bool:
    """True on GPUs from Ampere on, for the dtypes of flash attention."""
    return (
        tensor.is_cuda
        and tensor.dtype != torch.float32
        and torch.cuda.get_device_capability(tensor.device) >= (8, 0)
    )


def _variable_length(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    """Flash attention over rows of different lengths, one kernel for all (torch's own)."""
    from torch.nn.attention.varlen import varlen_attn

    found: Any = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        # A window of w tokens holds the token itself and w - 1 before it.
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return torch.as_tensor(found)[None]


# Compiled layers break here: the number of rows differs from batch to batch.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _row_by_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    dropout: float,
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    # Split and not sliced: the gradient of a slice is as large as what it was taken from.
    lengths = starts.diff().tolist()
    found = [
        functional.scaled_dot_product_attention(
            row_query,
            row_key,
            row_value,
            attn_mask=window_mask(length, window, query.device),
            dropout_p=dropout,
            is_causal=window is None or length <= window,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for length, row_query, row_key, row_value in zip(
            lengths,
            *(tensor.split(lengths, dim=2) for tensor in (query, key, value)),
            strict=True,
        )
    ]
    return torch.cat(found, dim=2).transpose(1, 2)
