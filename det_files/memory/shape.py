"""What a model is, in numbers: its parameters as they are trained, its layers' bytes by rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# A weight in nf4: 4 bits, 8 for each block of 64, and 32 for each 256 blocks (quantization.py).
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class Parameter:
    """`count` parameters of one shape. `part` is where they are: head, embedding or body."""

    shape: tuple[int, ...]
    count: int
    trained: bool
    quantized: bool = False
    part: str = "body"

    @property
    def elements(self) -> int:
        """Elements of one of them."""
        return math.prod(self.shape)

    @property
    def total(self) -> int:
        """Elements of all of them."""
        return self.elements * self.count


@dataclass(frozen=True)
class Line:
    """Bytes of B rows: a constant, and so many for each of them."""

    constant: float = 0.0
    each: float = 0.0

    def at(self, rows: int) -> float:
        return max(0.0, self.constant + self.each * rows)

    @classmethod
    def through(cls, first: tuple[int, float], second: tuple[int, float]) -> Line:
        """The line through two points (rows, bytes)."""
        each = (second[1] - first[1]) / (second[0] - first[0])
        return cls(first[1] - each * first[0], each)


@dataclass(frozen=True)
class Layer:
    """One layer's bytes, by rows: see tracing.LayerBytes."""

    kept: Line
    saved: Line
    forward: Line
    backward: Line


@dataclass(frozen=True)
class Stack:
    """`count` equal layers."""

    count: int
    layer: Layer


@dataclass(frozen=True)
class Trace:
    """The model's bytes by rows: its stacks, and what is saved outside of them."""

    stacks: tuple[Stack, ...] = ()
    outside: Line = Line()


@dataclass(frozen=True)
class Lengths:
    """The longest row that the data arguments allow, in tokens.

    - row: tokens of a row (of the encoder's, where there are two stacks);
    - target: tokens of a decoder's row; 0 for decoders alone;
    - supervised: of them, how many are learned.
    """

    row: int
    target: int
    supervised: int


@dataclass(frozen=True)
class Head:
    """The output layer: [V, H] weights, and how its loss is computed (loss_head.py).

    - chunked: a chunk of positions at a time; else the logits of all supervised ones at once;
    - whole: logits of all positions, supervised or not (TRL's trainers; encoder-decoders);
    - trained: its weight gets a gradient; tied: it is the table of the embeddings, too.
    """

    vocabulary: int
    hidden: int
    chunked: bool
    whole: bool
    trained: bool
    tied: bool
    capped: bool = False


@dataclass(frozen=True)
class ModelShape:
    """All that an estimate needs to know of a model with its tuning method applied.

    It holds for every ZeRO stage, offload, optimizer, number of slots and micro-batch, with
    activation checkpointing and without; another one is read for another method or precision, other
    lengths, another device, or training with DeepSpeed in place of without.

    - plain: rows without padding, one, several of one length or end to end; padded: several with a
      mask;
    - packs: whether rows can lie end to end (attention.py);
    - largest_module: elements of the module with the most parameters of its own.
    """

    name: str
    model_type: str
    parameters: tuple[Parameter, ...]
    buffer_bytes: int
    hidden: int
    lengths: Lengths
    head: Head
    plain: Trace
    padded: Trace
    device: str = "cuda"
    packs: bool = False
    largest_module: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def trained(self) -> int:
        """Trained elements."""
        return sum(p.total for p in self.parameters if p.trained)

    @property
    def frozen(self) -> int:
        """Frozen elements."""
        return sum(p.total for p in self.parameters if not p.trained)

    @property
    def largest_trained(self) -> int:
        """Elements of the largest trained parameter."""
        return max((p.elements for p in self.parameters if p.trained), default=0)

    @property
    def layers(self) -> int:
        return sum(stack.count for stack in self.plain.stacks)

    def frozen_bytes(self, element_bytes: float) -> int:
        """Bytes of frozen weights, those in 4 bits at 4.13 bits each."""
        return round(
            sum(
                p.total * (NF4_BYTES if p.quantized else element_bytes)
                for p in self.parameters
                if not p.trained
            )
        )
