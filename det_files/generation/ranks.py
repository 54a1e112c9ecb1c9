"""The ranks that answer together: each has a share of the rows, and agrees with the others.

They exchange words alone, never tensors, so that gloo does on any machine.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

from det_files.faults import EXIT_CONFIGURATION, ConfigError
from det_files.generation.padding import longest_first

Made = TypeVar("Made")
Row = TypeVar("Row")
# One may be done long before another; a launcher ends all when one has failed.
_PATIENCE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """This process among those of its launcher; one of one without."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def agree(self, prepare: Callable[[], Made]) -> Made:
        """What `prepare` returns here, once it has succeeded everywhere.

        Raises:
            ConfigError: it was raised, and there is one rank.
            SystemExit: it was raised on one of several; the first rank has told.
        """
        if self.size == 1:
            return prepare()
        made, error = None, None
        try:
            made = prepare()
        except ConfigError as raised:
            error = raised
        refusals = self._gather(None if error is None else (error.faults, error.subject))
        refusal = next((refusal for refusal in refusals if refusal), None)
        if refusal is None:
            return cast(Made, made)
        if self.is_first:
            print(ConfigError(*refusal), file=sys.stderr, flush=True)
        self.wait()  # the launcher ends the first rank, too, when another has left
        sys.exit(EXIT_CONFIGURATION)

    def wait(self) -> None:
        """Returns when all ranks have come here."""
        self._gather(None)

    def share(self, rows: Sequence[Row], lengths: Sequence[int]) -> list[Row]:
        """This rank's rows, so that all ranks have about as many tokens to read."""
        order = longest_first([range(length) for length in lengths])
        return [rows[number] for number in order[self.rank :: self.size]]

    def _gather(self, said: Made) -> list[Made]:
        if self.size == 1:
            return [said]
        import torch.distributed

        heard: list[Made] = [said] * self.size
        torch.distributed.all_gather_object(heard, said)
        return heard


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks of the launcher, for as long as the block lasts."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Ranks(torch.distributed.get_rank(), size)
    finally:
        torch.distributed.destroy_process_group()
