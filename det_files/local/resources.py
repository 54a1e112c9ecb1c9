"""What this machine gives the trials of a run: ranks, GPUs, cores, and how many run at once."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What a trial gets: `slots` ranks, on as many GPUs or, where `gpus` is 0, on the CPU.

    Attributes:
        slots: Ranks of one trial.
        gpus: GPUs of the machine that torch sees.
        cores: CPU cores that this process may use.
        at_once: How many trials run side by side.
    """

    slots: int
    gpus: int
    cores: int = 1
    at_once: int = 1

    def __str__(self) -> str:
        ranks = "1 rank" if self.slots == 1 else f"{self.slots} ranks"
        return f"{ranks} on {'the CPU' if self.gpus == 0 else 'GPUs'}"

    @property
    def threads(self) -> int:
        """Cores for each rank."""
        return max(1, self.cores // (self.slots * self.at_once))

    def devices(self, lane: int) -> list[str]:
        """The GPUs of the trials that run in this lane, 0 to `at_once` - 1; none to choose, none.

        A lane's share is taken from CUDA_VISIBLE_DEVICES where the user has set it.
        """
        if self.gpus == 0 or self.at_once == 1:
            return []
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        names = [name for name in visible.split(",") if name] or [str(n) for n in range(self.gpus)]
        return names[lane * self.slots : (lane + 1) * self.slots]


def trials_at_once(slots: int, gpus: int, cores: int, limit: int | None) -> int:
    """How many trials run side by side, at so many ranks each.

    As many as the GPUs have room for. On a CPU one, with all its cores, unless a limit (the
    experiment's `max_concurrent_trials`) asks for more: the machine's memory is shared there.
    """
    room = (gpus or cores) // max(1, slots)
    if gpus:
        return max(1, min(room, limit or room))
    return max(1, min(room, limit or 1))


def available_cores() -> int:
    """Returns how many CPU cores this process may use; a container's or taskset's share counts."""
    return len(os.sched_getaffinity(0))
