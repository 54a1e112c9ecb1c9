"""The order of training rows: one seeded shuffle an epoch, in whole global batches.

The order depends on the seed and the epoch alone, not on how many ranks or micro-batches share a
step, so that every way of spreading the same work sees the same rows in the same step. What does
not fill a global batch is left out; it is another remainder in each epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler


class GlobalBatchSampler(Sampler[int]):
    """Row numbers of an epoch, `len // global_batch` whole global batches of them."""

    def __init__(self, rows: int, global_batch: int, seed: int) -> None:
        """`rows` of the dataset; `global_batch` rows make an optimizer step on all ranks."""
        if rows < global_batch:
            raise ValueError(f"{rows} rows do not fill one global batch of {global_batch}")
        self._rows = rows
        self._count = rows // global_batch * global_batch
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the shuffle; the data loader calls this at the beginning of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        # One stream of its own for each (seed, epoch): consecutive seeds must not share orders.
        generator.manual_seed((self._seed * 1_000_003 + self._epoch) % 2**63)
        yield from torch.randperm(self._rows, generator=generator)[: self._count].tolist()


def set_epoch(loader: Any, epoch: int) -> None:
    """Tells every sampler of a data loader the epoch, through accelerate's wrappers."""
    sampler = getattr(loader, "batch_sampler", None)
    while sampler is not None:
        for part in (sampler, getattr(sampler, "sampler", None)):
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        sampler = getattr(sampler, "batch_sampler", None)
