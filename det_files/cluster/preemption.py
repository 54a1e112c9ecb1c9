"""Preemption off-cluster: a file in the trial's directory, or SIGTERM, asks the trial to stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from determined import core

from det_files.trial_files import PREEMPTED_FILE, STOP_FILE


class StopFilePreemptContext(core.DummyPreemptContext):
    """A PreemptContext whose signal is a file: the chief looks, and all ranks decide together.

    SIGTERM counts as the file: Slurm, or a torchrun that is itself told to end, sends it to every
    rank ahead of a kill. It is held off on all of them, or no rank would be left to save with.
    """

    def __init__(self, distributed: core.DistributedContext, trial_dir: Path) -> None:
        super().__init__(distributed, core.PreemptMode.WorkersAskChief)
        self._distributed = distributed
        self._trial_dir = trial_dir
        self._signalled = False
        self._previous: Any = None

    def start(self) -> core.PreemptContext:
        started = super().start()
        if self._distributed.rank == 0:
            (self._trial_dir / PREEMPTED_FILE).unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._on_signal)
        return started

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._signalled = True

    def close(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    def should_preempt(self, auto_ack: bool = True) -> bool:
        """True on every rank once the chief was asked to stop; all ranks must call in step."""
        if not self._started:
            raise RuntimeError("should_preempt() was called before start()")
        asked = None
        if self._distributed.rank == 0:
            asked = self._signalled or (self._trial_dir / STOP_FILE).exists()
        asked = bool(self._distributed.broadcast(asked))
        if asked and auto_ack and self._distributed.rank == 0:
            self.acknowledge_preemption_signal()
        return asked

    def acknowledge_preemption_signal(self) -> None:
        """Says that the trial stops unfinished: `preempted` tells it from a completed one."""
        (self._trial_dir / PREEMPTED_FILE).touch()
