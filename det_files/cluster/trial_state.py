"""A trial's state, by whoever decides over it: the master, or the local runner."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrialState:
    """A trial's state by the master's name (`STATE_RUNNING`, …), and how far its metrics came."""

    name: str
    step: int  # the last one with metrics of any group, 0 for none
    validated_step: int  # -1 for none

    @property
    def stopping(self) -> bool:
        return self.name.startswith("STATE_STOPPING_")
