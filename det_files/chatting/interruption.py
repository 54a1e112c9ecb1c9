"""Ctrl-C while an answer is given: it stops the answer, and not the program."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interruption:
    """Takes Ctrl-C while it is entered. The first is noted, the second raises KeyboardInterrupt.

    A note that is looked at between two pieces of an answer loses no piece; where a model is too
    slow to be waited for, the second one ends it at once.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interruption:
        self._previous = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
