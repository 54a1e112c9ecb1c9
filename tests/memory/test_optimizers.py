"""Bytes of optimizer states are those of the real optimizers."""

from typing import Any

import pytest
import torch

from det_files.memory.optimizers import flat_state_bytes, is_known, state_bytes
from det_files.memory.shape import Parameter

SHAPES = [(64, 96), (96,), (128, 64)]


def real_state_bytes(optimizer: Any, parameters: list[torch.nn.Parameter]) -> int:
    """Bytes of the tensors that an optimizer keeps after a step, counters of steps left out."""
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    total = 0
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and name not in ("step", "RMS"):
                inner = [getattr(value, part, None) for part in ("codes", "scale")]
                tensors = [part for part in inner if part is not None] or [value]
                total += sum(part.numel() * part.element_size() for part in tensors)
    return total


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]


def described() -> tuple[Parameter, ...]:
    return tuple(Parameter(shape, 1, trained=True) for shape in SHAPES)


@pytest.mark.parametrize("name", ["adamw_torch", "sgd", "adagrad", "rmsprop", "adafactor"])
def test_states_are_as_large_as_the_real_ones(name: str) -> None:
    from transformers import Adafactor

    makers = {
        "adamw_torch": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
        "adagrad": torch.optim.Adagrad,
        "rmsprop": torch.optim.RMSprop,
        "adafactor": Adafactor,
    }
    made = parameters()
    assert state_bytes(name, described()) == real_state_bytes(makers[name](made), made)


@pytest.mark.parametrize(("name", "bits"), [("adamw_torch_8bit", 8), ("adamw_torch_4bit", 4)])
def test_states_of_few_bits_are_as_large_as_torchaos(name: str, bits: int) -> None:
    from torchao.optim import AdamW4bit, AdamW8bit

    made = parameters()
    found = state_bytes(name, described())
    real = real_state_bytes({8: AdamW8bit, 4: AdamW4bit}[bits](made), made)
    assert found == pytest.approx(real, rel=0.01)


def test_a_flat_tensor_has_nothing_to_factor() -> None:
    assert flat_state_bytes("adafactor", 1000) == 4000
    assert flat_state_bytes("adamw_torch_fused", 1000) == 8000


def test_of_optimizers_that_are_not_known_adams_states_are_counted() -> None:
    assert not is_known("galore_adamw")
    assert flat_state_bytes("galore_adamw", 10) == 80
    from transformers.training_args import OptimizerNames

    unknown = {name.value for name in OptimizerNames if not is_known(name.value)}
    assert all(
        "galore" in n or "apollo" in n or "adalomo" in n or "xla" in n or "npu" in n
        for n in unknown
    )
