"""Ctrl-C and SIGTERM end a generation between two tokens; what was answered stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from det_files.local.terminal import Terminal


class Stopped(BaseException):
    """Somebody asked to stop."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raises Stopped within, for the first SIGINT or SIGTERM; a second one ends the process."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for name in previous:
            signal.signal(name, signal.SIG_DFL)
        raise Stopped

    previous = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def resume_command(terminal: Terminal, arguments: Sequence[str]) -> str:
    """The command that goes on; the number of ranks may be another one."""
    words = [word for word in arguments if word != "--resume"]
    return terminal.command(*words, "--resume")
