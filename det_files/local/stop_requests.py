"""Ctrl-C and SIGTERM as requests that the runner answers when it looks, not as interruptions."""

import signal
from types import FrameType, TracebackType
from typing import Any


class StopRequests:
    """Counts the requests to stop that came while it was entered.

    One means: checkpoint, then stop. Two or more mean: stop now.
    """

    def __init__(self) -> None:
        self.count = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequests":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # `nohup` ignores SIGHUP, and means it. SIGINT is also ignored in a script's background
            # jobs, but there nobody has asked for that.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._previous[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
