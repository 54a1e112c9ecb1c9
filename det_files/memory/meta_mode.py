"""Modes of torch in which a pass on the meta device makes what it would make on a GPU, counted.

Attention is counted as what fused kernels keep (queries, keys, values, result, and one float32 a
token and head; Dao et al. 2022, arXiv:2205.14135), unless the model computes its scores itself or
CUDA has no such kernel.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

# What autocast computes in its dtype (torch's list for CUDA and CPU, as far as models call it).
_LOWERED = {
    nn.functional.linear,
    torch.matmul,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
    torch.bmm,
    torch.Tensor.bmm,
    torch.baddbmm,
    torch.Tensor.baddbmm,
    torch.addmm,
    torch.Tensor.addmm,
}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def ignore(self, tensors: Sequence[torch.Tensor]) -> None:
        """Leaves out what these tensors hold: weights."""
        self._known |= {tensor.untyped_storage()._cdata for tensor in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


class _Autocast(TorchFunctionMode):
    """torch's autocast, which has no meta device: matrix products in `dtype`, weights cast once."""

    def __init__(self, dtype: torch.dtype, counter: LiveBytes) -> None:
        super().__init__()
        self._dtype = dtype
        self._counter = counter
        self._weights: dict[int, torch.Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _LOWERED:
            args = [self._lower(value) for value in args]
            kwargs = {name: self._lower(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)

    def _lower(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(self._dtype)
        # Copies of weights live as long as the pass and are counted with the weights (states.py).
        if id(value) not in self._weights:
            copy = value.to(self._dtype)
            self._counter.live -= copy.untyped_storage().nbytes()
            self._weights[id(value)] = copy
        return self._weights[id(value)]


class _FusedAttention(torch.autograd.Function):
    """The shapes that a fused kernel keeps, and nothing computed: on meta, torch would take the
    unfused path and keep [heads, S, S]."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: Any
    ) -> torch.Tensor:
        batch, heads, length, _ = query.shape
        found = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        sums = query.new_empty(batch, heads, length, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, found, sums, bias)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


_torch_attention = nn.functional.scaled_dot_product_attention


def _attention(
    autocast: torch.dtype | None,
    on_gpu: bool,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> torch.Tensor:
    """scaled_dot_product_attention as it runs on the device."""
    if autocast is not None:  # it is on torch's lists, but this function in its place is not
        query, key, value = (part.to(autocast) for part in (query, key, value))
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.to(autocast)
    if on_gpu and query.dtype == torch.float32 and kwargs.get("enable_gqa"):
        # No fused kernel of CUDA's in float32 has heads that share keys: torch keeps all scores, as
        # it does on meta.
        return _torch_attention(query, key, value, attn_mask, *args, **kwargs)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # torch makes numbers of it, for each layer (convert_boolean_attn_mask).
        attn_mask = attn_mask.to(query.dtype)
    return _FusedAttention.apply(query, key, value, attn_mask)


@contextmanager
def counted_on_meta(
    counter: LiveBytes, autocast: torch.dtype | None, padded: bool, device: str
) -> Iterator[None]:
    """A pass as it would be on `device`, cuda or cpu.

    What asks for values that the meta device has not is answered: rows have padding, or none.
    """

    def needs_no_mask(
        mask: Any, queries: int, keys: int, *args: Any, local_attention_size: Any = None, **_: Any
    ) -> bool:
        return not padded and (local_attention_size is None or keys <= local_attention_size)

    with ExitStack() as stack:
        patch = mock.patch
        stack.enter_context(
            patch.object(
                nn.functional,
                "scaled_dot_product_attention",
                partial(_attention, autocast, device == "cuda"),
            )
        )
        for name, answer in (
            ("_ignore_causal_mask_sdpa", needs_no_mask),
            ("_ignore_bidirectional_mask_sdpa", lambda *args, **kwargs: not padded),
            ("find_packed_sequence_indices", lambda *args, **kwargs: None),
        ):
            stack.enter_context(patch(f"transformers.masking_utils.{name}", answer))
        if autocast is not None:
            stack.enter_context(_Autocast(autocast, counter))
        stack.enter_context(counter)
        yield
