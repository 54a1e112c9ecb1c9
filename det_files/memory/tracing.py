"""What a model's layers hold, traced on the meta device: the real forward and backward pass of a
few layers, operation by operation, without a byte of weights.

All that a layer saves for its backward pass, and what it holds for a moment beside that, is seen as
it is in the installed transformers and peft, adapters and casts included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from det_files.memory.meta_mode import LiveBytes, counted_on_meta


@dataclass(frozen=True)
class LayerBytes:
    """What one layer holds, in bytes.

    - kept: its input, all that activation checkpointing keeps;
    - saved: what its backward pass needs, input included;
    - forward: held for a moment in the forward pass beside what was there and what is saved;
    - backward: held for a moment in the backward pass beside what was there when it began.
    """

    kept: int
    saved: int
    forward: int
    backward: int


@dataclass(frozen=True)
class RowBytes:
    """A pass through the model: each stack's layer, and what lies outside of layers."""

    layers: tuple[LayerBytes, ...]
    outside: int


class _LayerMeter:
    """Hooks on one layer that read the counter where its passes begin and end."""

    def __init__(self, layer: nn.Module, counter: LiveBytes) -> None:
        self._counter = counter
        self._begun = self._forward = self._saved = 0
        self._backward_begun = self.backward = 0
        self.kept = 0
        self._handles = [
            layer.register_forward_pre_hook(self._before, with_kwargs=True),
            layer.register_forward_hook(self._after),
        ]

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        self.kept = hidden.untyped_storage().nbytes()
        self._begun = self._counter.peak = self._counter.live
        if hidden.requires_grad:
            hidden.register_hook(self._backward_ends)

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        self._saved = self._counter.live - self._begun
        self._forward = self._counter.peak - self._counter.live
        hidden.register_hook(self._backward_begins)

    def _backward_begins(self, gradient: torch.Tensor) -> None:
        self._backward_begun = self._counter.peak = self._counter.live

    def _backward_ends(self, gradient: torch.Tensor) -> None:
        self.backward = self._counter.peak - self._backward_begun

    def read(self) -> LayerBytes:
        for handle in self._handles:
            handle.remove()
        # The output is the next layer's input, so inputs and outputs of layers pair off.
        return LayerBytes(self.kept, self._saved, max(0, self._forward), max(0, self.backward))


def trace_rows(
    run: Callable[[], torch.Tensor],
    stacks: Sequence[nn.ModuleList],
    weights: Sequence[nn.Parameter],
    autocast: torch.dtype | None,
    padded: bool,
    device: str,
) -> RowBytes:
    """The bytes in each stack's second layer and outside of layers.

    Args:
        run: the forward pass of some rows, through two layers a stack; all on meta.
        stacks: those layers.
        weights: what is not counted.
        autocast: the dtype that matrix products are computed in, where it is not the weights'.
        padded: whether rows have padding, so that attention needs a mask.
        device: cuda or cpu, whose kernels of attention are counted.
    """
    counter = LiveBytes()
    counter.ignore(weights)
    meters = [[_LayerMeter(layer, counter) for layer in layers] for layers in stacks]
    handles = [
        weight.register_post_accumulate_grad_hook(_drop_gradient)
        for weight in weights
        if weight.requires_grad
    ]
    with counted_on_meta(counter, autocast, padded, device):
        hidden = run()
        end = counter.live
        if hidden.requires_grad:
            hidden.backward(torch.empty_like(hidden))
    for handle in handles:
        handle.remove()
    layers = [[meter.read() for meter in stack] for stack in meters]
    inside = sum(layer.saved for stack in layers for layer in stack)
    # The last of each: the first one's input needs no gradient where embeddings are frozen.
    return RowBytes(tuple(stack[-1] for stack in layers), max(0, end - inside))


def _drop_gradient(weight: torch.Tensor) -> None:
    weight.grad = None  # counted with the states
