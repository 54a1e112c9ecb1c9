"""The order of prompts for generation: each several times in a row, each batch of them repeated."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from det_files.data.sampler import Order


class PromptSampler(Sampler[int]):
    """Row numbers of an epoch, as TRL's RepeatSampler has them, in a shuffle of each epoch's own.

    TRL's draws its shuffles one after another, so that a run that is resumed in a later epoch
    would begin with the first epoch's.
    """

    def __init__(self, order: Order, prompts: int, generations: int, repeats: int, seed: int):
        """Batches of different prompts.

        Args:
            order: chooses the rows of each epoch.
            prompts: different ones in a batch of generation, on all ranks.
            generations: answers to each, which stand side by side.
            repeats: how often a batch is drawn before the next.
            seed: of the order.

        Raises:
            ValueError: there are not enough rows for one batch.
        """
        if order.rows < prompts:
            raise ValueError(f"{order.rows} rows do not fill a batch of {prompts} prompts")
        self._order = order
        self._prompts = prompts
        self._generations = generations
        self._repeats = repeats
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the shuffle."""
        self._epoch = epoch

    def __len__(self) -> int:
        batches = self._order.rows // self._prompts
        return batches * self._prompts * self._generations * self._repeats

    def __iter__(self) -> Iterator[int]:
        rows = self._order.order(self._seed, self._epoch).tolist()
        for first in range(0, len(rows) - self._prompts + 1, self._prompts):
            batch = rows[first : first + self._prompts]
            for _ in range(self._repeats):
                for row in batch:
                    yield from [row] * self._generations
