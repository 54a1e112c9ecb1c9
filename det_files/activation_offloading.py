"""Activation offloading: what the backward pass needs waits in host memory, not on the device.

With activation checkpointing only the inputs of layers are kept, which are then what is moved.
"""

from __future__ import annotations

from typing import Any

import torch

# Smaller tensors cost more to move than they hold (bytes).
_WORTH_MOVING = 1 << 20


class ActivationOffloading(torch.autograd.graph.saved_tensors_hooks):
    """A context for the forward pass; weights, which stay on the device anyway, stay there."""

    def __init__(self, smallest_bytes: int = _WORTH_MOVING) -> None:
        self._smallest = smallest_bytes
        super().__init__(self._pack, self._unpack)

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.device | None, torch.Tensor]:
        if not self.moves(tensor):
            return None, tensor
        # Compiled layers read what they saved by its strides, so these are kept.
        host = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        # Waits for the copy: a block of device memory that is free again may be written at once.
        host.copy_(tensor)
        return tensor.device, host

    @staticmethod
    def _unpack(packed: tuple[torch.device | None, torch.Tensor]) -> torch.Tensor:
        device, tensor = packed
        return tensor if device is None else tensor.to(device, non_blocking=True)

    def moves(self, tensor: Any) -> bool:
        """True for large tensors that are neither weights nor views of weights."""
        owner = tensor if tensor._base is None else tensor._base
        return (
            not isinstance(owner, torch.nn.Parameter)
            and not hasattr(tensor, "ds_id")
            and tensor.numel() * tensor.element_size() >= self._smallest
        )
