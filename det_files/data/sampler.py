"""The order of training rows: one seeded shuffle an epoch, in whole global batches.

Which rows a step learns from depends on the seed and the epoch alone, not on how many ranks or
micro-batches share it, so that every way of spreading the same work sees the same rows in the same
step. What does not fill a global batch is left out; it is another remainder in each epoch. Within
a global batch, rows are dealt to micro-batches by their lengths: that changes no step, only its
cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Sampler


class Order(Protocol):
    """Chooses the order of an epoch: MixtureOrder of rows, Blocks of blocks."""

    @property
    def rows(self) -> int:
        """How many an epoch has, the same in each."""

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Their numbers, [rows]."""


class GlobalBatchSampler(Sampler[int]):
    """Row numbers of an epoch, `rows // global_batch` whole global batches of them."""

    def __init__(
        self,
        order: Order,
        lengths: np.ndarray,
        global_batch: int,
        micro_batch: int,
        seed: int,
        padded: bool,
    ) -> None:
        """Deals each global batch to micro-batches.

        Args:
            order: chooses the rows of each epoch.
            lengths: tokens of every row of the dataset.
            global_batch: rows of an optimizer step, on all ranks.
            micro_batch: rows of one forward pass; divides `global_batch`.
            seed: of the order.
            padded: rows of a micro-batch are padded to the longest of them, so that similar ones
                belong together; otherwise micro-batches are made of about equally many tokens.
        """
        if order.rows < global_batch:
            raise ValueError(f"{order.rows} rows do not fill one global batch of {global_batch}")
        self._order = order
        self._lengths = lengths
        self._global_batch = global_batch
        self._deal = by_length if padded else by_tokens
        self._micro_batch = micro_batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the shuffle; the data loader calls this at the beginning of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._order.rows // self._global_batch * self._global_batch

    def __iter__(self) -> Iterator[int]:
        rows = self._order.order(self._seed, self._epoch)
        for first in range(0, len(self), self._global_batch):
            batch = rows[first : first + self._global_batch]
            yield from batch[self._deal(self._lengths[batch], self._micro_batch)].tolist()


def by_length(lengths: np.ndarray, micro_batch: int) -> np.ndarray:
    """An order of rows in which consecutive ones have similar lengths, the longest first."""
    return np.argsort(-lengths, kind="stable")


def by_tokens(lengths: np.ndarray, micro_batch: int) -> np.ndarray:
    """An order in which each `micro_batch` consecutive rows have about equally many tokens.

    Rows are dealt like cards, the longest first, each round in the direction opposite to the last.
    """
    descending = np.argsort(-lengths, kind="stable").reshape(micro_batch, -1)
    descending[1::2] = descending[1::2, ::-1]
    return descending.T.reshape(-1)


def set_epoch(loader: Any, epoch: int) -> None:
    """Tells every sampler of a data loader the epoch, through accelerate's wrappers."""
    sampler = getattr(loader, "batch_sampler", None)
    while sampler is not None:
        for part in (sampler, getattr(sampler, "sampler", None)):
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        sampler = getattr(sampler, "batch_sampler", None)
