"""Bytes of an optimizer's state, by its name among transformers' and a parameter's shape.

Sources: torch.optim, transformers' Adafactor, torchao's and bitsandbytes' optimizers as installed;
8-bit states after Dettmers et al. 2021 (arXiv:2110.02861): blocks of 256 with a float32 each.
"""

from __future__ import annotations

from dataclasses import dataclass

from det_files.memory.shape import Parameter

# Tensors of fewer elements keep their state in float32 (bitsandbytes and torchao alike).
_SMALL = 4096


@dataclass(frozen=True)
class _Kind:
    """`states` tensors a parameter; each element of one takes `bits`, a block has a float32."""

    states: int
    bits: int = 32
    block: int = 0

    def bytes_of(self, elements: int) -> float:
        if self.bits == 32 or elements < _SMALL:
            return 4.0 * self.states * elements
        return self.states * (self.bits / 8 + 4 / self.block) * elements


_ADAM, _ADAM_8 = _Kind(2), _Kind(2, 8, 256)
_KINDS = {
    "adamw_torch_4bit": _Kind(2, 4, 128),
    "adamw_torch_8bit": _ADAM_8,
    "adamw_bnb_8bit": _ADAM_8,
    "adamw_8bit": _ADAM_8,
    "paged_adamw_8bit": _ADAM_8,
    "ademamix": _Kind(3),
    "paged_ademamix_32bit": _Kind(3),
    "ademamix_8bit": _Kind(3, 8, 256),
    "paged_ademamix_8bit": _Kind(3, 8, 256),
    "lion_32bit": _Kind(1),
    "paged_lion_32bit": _Kind(1),
    "lion_8bit": _Kind(1, 8, 256),
    "paged_lion_8bit": _Kind(1, 8, 256),
    "sgd": _Kind(0),
    "schedule_free_sgd": _Kind(1),
    "adagrad": _Kind(1),
    "rmsprop": _Kind(1),
    "rmsprop_bnb": _Kind(1),
    "rmsprop_bnb_32bit": _Kind(1),
    "rmsprop_bnb_8bit": _Kind(1, 8, 256),
    "lomo": _Kind(0),
}
# Two float32 states a parameter, as Adam.
_ADAMS = (
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_anyprecision",
    "paged_adamw_32bit",
    "schedule_free_adamw",
    "schedule_free_radam",
    "stable_adamw",
    "grokadamw",
)


def is_known(name: str) -> bool:
    """Whether an optimizer's state is; of others (low-rank projections) Adam's is the bound."""
    return name in _KINDS or name in _ADAMS or name == "adafactor"


def state_bytes(name: str, parameters: tuple[Parameter, ...]) -> float:
    """Bytes of the state of these parameters, all of them on one rank."""
    if name == "adafactor":
        return sum(4.0 * _factored(p.shape) * p.count for p in parameters)
    kind = _KINDS.get(name, _ADAM)
    return sum(kind.bytes_of(p.elements) * p.count for p in parameters)


def flat_state_bytes(name: str, elements: float) -> float:
    """Bytes of the state of so many elements in one flat tensor, as under ZeRO."""
    if name == "adafactor":  # nothing to factor in one dimension
        return 4.0 * elements
    return _KINDS.get(name, _ADAM).bytes_of(int(elements))


def _factored(shape: tuple[int, ...]) -> int:
    """Adafactor's second moment: rows and columns of a matrix (Shazeer and Stern 2018,
    arXiv:1804.04235), all of a vector."""
    if len(shape) < 2:
        return shape[0] if shape else 1
    *outer, rows, columns = shape
    matrices = 1
    for size in outer:
        matrices *= size
    return matrices * (rows + columns)
