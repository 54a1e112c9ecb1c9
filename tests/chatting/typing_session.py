"""A command in a terminal of its own, which a test types into and reads."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from conftest import ROOT, rank_environment

CTRL_C, CTRL_D = "\x03", "\x04"
TIMEOUT_S = 120


class Session:
    """`python -m MODULE …` as the foreground of a new terminal of 24 lines."""

    def __init__(self, arguments: Sequence[str], columns: int = 80, **environment: str) -> None:
        self.text = ""  # all that was written so far
        self._seen = 0
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            env = rank_environment(TERM="xterm", **environment)
            # pytest-xdist's workers have them.
            for name in {"COLUMNS", "LINES"} - environment.keys():
                env.pop(name, None)
            # Whoever started the tests in the background has SIGINT ignored, which is inherited.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvpe(sys.executable, [sys.executable, "-m", *arguments], env)
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def line(self, text: str) -> None:
        """Types a line."""
        self.type(f"{text}\n")

    def wait_for(self, pattern: str) -> str:
        """Waits until a pattern stands in what follows the last find; returns all up to its end."""
        until = time.monotonic() + TIMEOUT_S
        while not (found := re.compile(pattern).search(self.text, self._seen)):
            assert time.monotonic() < until and self._read(), (
                f"no {pattern!r} in {self.text[self._seen :][-500:]!r}"
            )
        start, self._seen = self._seen, found.end()
        return self.text[start : self._seen]

    def wait_until_it_reads(self) -> None:
        """Waits until the program sleeps: it shows its prompt a moment before it reads.

        A Ctrl-C between the two is noticed by Python's readline with the next key alone.
        """
        asleep, until = 0, time.monotonic() + TIMEOUT_S
        while asleep < 5:
            assert time.monotonic() < until, "the program does not read"
            time.sleep(0.02)
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            asleep = asleep + 1 if state == "S" else 0

    def end(self) -> int:
        """Waits for the end of the program; returns its exit code."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        """Reads some more; False at the program's end."""
        ready, _, _ = select.select([self._terminal], [], [], TIMEOUT_S)
        assert ready, f"nothing came behind {self.text[self._seen :][-500:]!r}"
        try:
            new = os.read(self._terminal, 65536)
        except OSError:  # how a pseudo-terminal ends on Linux
            return False
        self.text += new.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(new)
