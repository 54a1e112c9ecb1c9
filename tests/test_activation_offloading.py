"""Activation offloading: the same gradients; activations move, weights do not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from det_files.activation_offloading import ActivationOffloading
from tiny import ARCHITECTURES


class Recording(ActivationOffloading):
    """Notes what is asked to be moved."""

    def __init__(self, smallest_bytes: int) -> None:
        super().__init__(smallest_bytes)
        self.moved: list[torch.Tensor] = []
        self.kept: list[torch.Tensor] = []

    def moves(self, tensor: Any) -> bool:
        moved = super().moves(tensor)
        (self.moved if moved else self.kept).append(tensor)
        return moved


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_the_same_and_weights_stay(checkpointing: bool) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **ARCHITECTURES["llama"], use_cache=False)
    plain = AutoModelForCausalLM.from_config(config)
    offloaded = copy.deepcopy(plain)
    if checkpointing:
        offloaded.gradient_checkpointing_enable({"use_reentrant": False})
        offloaded.train()
    ids = torch.randint(0, 300, (2, 20))
    plain(input_ids=ids, labels=ids).loss.backward()
    context = Recording(smallest_bytes=1024)
    with context:
        loss = offloaded(input_ids=ids, labels=ids).loss
    loss.backward()
    for mine, theirs in zip(offloaded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    weights = {parameter.data_ptr() for parameter in offloaded.parameters()}
    assert context.moved
    assert not weights & {tensor.data_ptr() for tensor in context.moved}
    if not checkpointing:  # then the layers' weights are not saved at all
        assert weights & {tensor.data_ptr() for tensor in context.kept}


def test_strides_are_kept() -> None:
    """Compiled layers assert those of what they have saved."""
    context = ActivationOffloading(smallest_bytes=1)
    transposed = torch.randn(4, 10).t()
    packed = context._pack(transposed)
    assert packed[1] is not transposed
    assert packed[1].stride() == transposed.stride()
    assert torch.equal(context._unpack(packed), transposed)


def test_small_tensors_and_views_of_weights_stay() -> None:
    context = ActivationOffloading(smallest_bytes=100)
    assert context.moves(torch.zeros(25))
    assert not context.moves(torch.zeros(24))
    weight = nn.Parameter(torch.zeros(10, 10))
    assert not context.moves(weight)
    assert not context.moves(weight.t())
    partitioned = torch.zeros(100)
    partitioned.ds_id = 3  # DeepSpeed's mark of a weight under ZeRO-3
    assert not context.moves(partitioned)
