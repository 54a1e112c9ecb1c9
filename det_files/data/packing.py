"""Packing: rows of different lengths together in blocks of a fixed number of tokens.

The longest row left opens a block, rows in their order fill it, and the pair of lengths that
leaves the least room closes it: a one-pass form of minimum bin slack (Gupta and Ho 1999), which
leaves less room than first-fit decreasing where no row is very short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from det_files.data.dataset import Examples
from det_files.data.sampler import Order
from det_files.data.tokenization import Example

# Rows that are packed together. Blocks of a mixture must keep its proportions nearby, so its
# windows are short; the last rows of a window are handed on to the next.
_WINDOW = 8192
_MIXTURE_WINDOW = 128
_RESERVE = 32
# While more room is left than so many of the longest row, any row will do (tried on GSM8K).
_ROOMY = 1.9


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Blocks of row numbers, none of more than `capacity` tokens, every row in one block.

    Raises:
        ValueError: a row is longer than a block.
    """
    packer = _Packer(capacity)
    packer.add(enumerate(lengths))
    packer.fill(reserve=0)
    return packer.blocks


class _Packer:
    """Rows that wait, by length, and the blocks made of them; rows may be added in several goes."""

    def __init__(self, capacity: int) -> None:
        self.blocks: list[list[int]] = []
        self._capacity = capacity
        self._waiting: dict[int, deque[int]] = {}
        self._lengths = np.empty(0, dtype=np.int64)  # those that wait, ascending
        self._counts = np.empty(0, dtype=np.int64)  # rows of each
        self._in_order: deque[tuple[int, int]] = deque()
        self._gone: set[int] = set()

    def add(self, rows: Iterable[tuple[int, int]]) -> None:
        """Lets (row, length) pairs wait."""
        for row, length in rows:
            if length > self._capacity:
                raise ValueError(f"row {row} has {length} tokens, a block {self._capacity}")
            self._waiting.setdefault(length, deque()).append(row)
            self._in_order.append((row, length))
        self._lengths = np.array(sorted(self._waiting), dtype=np.int64)
        self._counts = np.array([len(self._waiting[int(length)]) for length in self._lengths])

    def fill(self, reserve: int) -> None:
        """Makes blocks until at most `reserve` rows wait, which better fill those to come."""
        while len(self._in_order) - len(self._gone) > reserve:
            self.blocks.append(self._block())

    def _block(self) -> list[int]:
        longest = int(self._lengths[-1])
        block, room = [self._take(longest)], self._capacity - longest
        while len(self._lengths) and room >= self._lengths[0]:
            for length in self._next(room):
                block.append(self._take(length))
                room -= length
        return block

    def _next(self, room: int) -> list[int]:
        """One or two lengths that fit: the next in order where there is much room, else a pair."""
        if room > _ROOMY * self._lengths[-1]:
            while self._in_order[0][0] in self._gone:
                self._gone.remove(self._in_order.popleft()[0])
            return [self._in_order[0][1]]
        first = self._lengths[: np.searchsorted(self._lengths, room, "right")]
        other = np.searchsorted(self._lengths, room - first, "right") - 1
        # The same length twice takes two rows of it.
        other -= (other == np.arange(len(first))) & (self._counts[: len(first)] == 1)
        best = int((first + np.where(other >= 0, self._lengths[other], 0)).argmax())
        pair = [int(first[best])]
        return pair if other[best] < 0 else [*pair, int(self._lengths[other[best]])]

    def _take(self, length: int) -> int:
        place = np.searchsorted(self._lengths, length)
        row = self._waiting[length].popleft()
        self._gone.add(row)
        self._counts[place] -= 1
        if not self._counts[place]:
            del self._waiting[length]
            self._lengths = np.delete(self._lengths, place)
            self._counts = np.delete(self._counts, place)
        return row


class Blocks(Dataset[list[Example]]):
    """The rows of an epoch in blocks of `block_size` tokens; an item is one block's examples.

    Which rows share a block is decided once, by the seed; the order of blocks is another in each
    epoch. Blocks of a mixture stay near the place that its order gave their rows, so that its
    proportions hold over blocks too: an epoch begins at another place, and neighbours are shuffled.
    """

    def __init__(
        self, examples: Examples, order: Order, block_size: int, seed: int, mixture: bool = False
    ) -> None:
        self._examples = examples
        rows = order.order(seed, 0)
        window = _MIXTURE_WINDOW if mixture else _WINDOW
        packer = _Packer(block_size)
        ends = []
        for first in range(0, len(rows), window):
            here = rows[first : first + window]
            # Places and not rows: in an epoch that exhausts all sources, rows come again.
            packer.add(enumerate(examples.lengths[here].tolist(), first))
            packer.fill(0 if first + window >= len(rows) else _RESERVE)
            ends.append(len(packer.blocks))
        self._blocks = [rows[block].tolist() for block in packer.blocks]
        numbers = np.arange(len(self._blocks))
        self._neighbours = np.split(numbers, ends[:-1]) if mixture else [numbers]
        self.lengths = np.array([examples.lengths[block].sum() for block in self._blocks])
        self.fill = float(self.lengths.sum() / max(1, len(self._blocks) * block_size))

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> list[Example]:
        return [self._examples[row] for row in self._blocks[index]]

    def row_numbers(self, index: int) -> list[int]:
        """The rows of one block, as numbers of the examples."""
        return list(self._blocks[index])

    @property
    def rows(self) -> int:
        """Blocks of an epoch; the name is MixtureOrder's, for samplers take either."""
        return len(self._blocks)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The blocks of an epoch, [blocks]."""
        generator = torch.Generator()
        generator.manual_seed((seed * 1_000_003 + epoch) % 2**63)
        begin = int(torch.randint(len(self._neighbours), (1,), generator=generator))
        parts = [
            part[torch.randperm(len(part), generator=generator).numpy()]
            for part in (*self._neighbours[begin:], *self._neighbours[:begin])
        ]
        return np.concatenate(parts)
