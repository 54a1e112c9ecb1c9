"""The running line of an evaluation: how much is done, how fast, and what is left."""

from __future__ import annotations

import time
from collections.abc import Callable

from det_files.local.progress import PLAIN_INTERVAL_S, REDRAW_INTERVAL_S, duration
from det_files.local.terminal import Terminal

# Answers of a batch end together: the first of them say little of how fast the rest will come.
_ETA_SHARE = 0.1


class Counter:
    """Shows `tuned: 40/200 rows  3.1 rows/s  ETA 52s` on stderr, at most so often."""

    def __init__(
        self,
        terminal: Terminal,
        title: str,
        total: int,
        unit: str = "rows",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal, self._clock = terminal, clock
        self._title, self._total, self._unit = title, total, unit
        self._started = self._shown = clock()
        self._done = 0

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return self._clock() - self._started

    def add(self, count: int = 1) -> None:
        """Counts what has been done."""
        self._done += count
        interval = REDRAW_INTERVAL_S if self._terminal.interactive else PLAIN_INTERVAL_S
        now = self._clock()
        if now - self._shown >= interval and self._done < self._total:
            self._shown = now
            self._terminal.progress(self.line())

    def finish(self) -> None:
        """Leaves a line that says how long it took."""
        speed = self._done / max(self.seconds, 1e-9)
        done = f"{self._title}: {self._done} {self._unit} in {duration(self.seconds)}"
        self._terminal.note(f"{done}  {speed:.1f} {self._unit}/s")

    def line(self) -> str:
        """The line as it is now."""
        speed = self._done / max(self.seconds, 1e-9)
        parts = [
            f"{self._title}: {self._done}/{self._total} {self._unit}",
            f"{speed:.1f} {self._unit}/s",
        ]
        if self._done >= _ETA_SHARE * self._total:
            parts.append(f"ETA {duration((self._total - self._done) / speed)}")
        return "  ".join(parts)
