"""Attention row by row on a CPU, as one operator, so that a compiled layer stays one graph.

Q and K heads of queries and keys, T tokens of n rows end to end, D head size. The kernels are
torch's own for SDPA on a CPU; each row's call reads and writes its part of the whole tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
_NO_WINDOW = 2**62


def attend_on_cpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    """Causal attention within rows: [1, Q, T, D], twice [1, K, T, D], [n + 1] → [1, Q, T, D].

    `window` is how many tokens one sees, itself among them; None for all before it.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    found: torch.Tensor = _attend(query, key, value, starts, scale, window or _NO_WINDOW)[0]
    return found


def window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """[S, S] of bool: each token sees itself and the window - 1 before it; None where all fit."""
    if window is None or length <= window:
        return None
    here = torch.arange(length, device=device)
    behind = here[:, None] - here[None, :]
    return (behind >= 0) & (behind < window)


def _rows(starts: torch.Tensor, window: int) -> Iterator[tuple[slice, dict[str, Any]]]:
    """(place among T, options of the kernel) of each row."""
    bounds = starts.tolist()
    for first, last in pairwise(bounds):
        mask = window_mask(last - first, window, torch.device("cpu"))
        yield slice(first, last), {"is_causal": mask is None, "mask": mask}


def _bias(mask: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    """The mask as what the kernel adds to scores."""
    if mask is None:
        return None
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, float("-inf"))


@torch.library.custom_op("det_files::row_attention", mutates_args=())
def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    scale: float,
    window: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(attention [1, Q, T, D], logarithms of the sums of scores [1, Q, T])."""
    found, sums = _empty_results(query)
    for row, options in _rows(starts, window):
        found[:, :, row], sums[:, :, row] = _forward(
            query[:, :, row],
            key[:, :, row],
            value[:, :, row],
            0.0,
            options["is_causal"],
            attn_mask=_bias(options["mask"], query),
            scale=scale,
        )
    return found, sums


@_attend.register_fake
def _shapes(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: Any,
    scale: Any,
    window: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty_results(query)


def _empty_results(query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # In memory [1, T, Q, D], as the output projection will read it.
    found = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
    return found.transpose(1, 2), query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op("det_files::row_attention_backward", mutates_args=())
def _differentiate(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    found: torch.Tensor,
    sums: torch.Tensor,
    starts: torch.Tensor,
    scale: float,
    window: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of query, key and value."""
    gradients = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
    for row, options in _rows(starts, window):
        parts = _backward(
            gradient[:, :, row],
            query[:, :, row],
            key[:, :, row],
            value[:, :, row],
            found[:, :, row],
            sums[:, :, row],
            0.0,
            options["is_causal"],
            attn_mask=_bias(options["mask"], query),
            scale=scale,
        )
        for whole, part in zip(gradients, parts, strict=True):
            whole[:, :, row] = part
    return gradients


@_differentiate.register_fake
def _gradient_shapes(
    gradient: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    query, key, value, starts, scale, window = inputs
    ctx.save_for_backward(query, key, value, *output, starts)
    ctx.options = (scale, window)


def _gradients(ctx: Any, by_found: torch.Tensor, by_sums: Any) -> tuple[torch.Tensor | None, ...]:
    query, key, value, found, sums, starts = ctx.saved_tensors
    gradients = _differentiate(by_found, query, key, value, found, sums, starts, *ctx.options)
    return (*gradients, None, None, None)


_attend.register_autograd(_gradients, setup_context=_save)
