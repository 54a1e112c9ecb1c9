"""A contender's process as the parent sees it: start, steps on demand, end.

The parent writes `step N` or `stop` to its stdin; answers come through a pipe of their own, since
libraries print to stdout. Output goes to a file, whose end tells why a process has died.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.contenders.work import Contender, Work, to_mapping

ROOT = Path(__file__).resolve().parents[2]
_LAST_WORDS = 600


class ContenderFailed(Exception):
    """A contender ended, failed or took too long; its text says which."""


class Process:
    """One contender, running; `facts` is what it has said of its preparation."""

    def __init__(self, work: Work, contender: Contender, place: Path) -> None:
        self.contender = contender
        self.facts: dict[str, Any] = {}
        place.mkdir(parents=True)
        self._log = place / "output.txt"
        specification = place / "specification.json"
        specification.write_text(json.dumps(to_mapping(work, contender)), encoding="utf-8")
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "benchmarks.contenders.worker", str(specification)]
        command += ["--reports", str(writing), "--began", repr(time.time())]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=_environment(place, work.threads),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
            )
        os.close(writing)
        self._reports = reading
        self._pending = b""

    def get_ready(self, deadline: float) -> None:
        """Waits until it could begin its first step; `deadline` is a time.monotonic()."""
        self.facts = self._next("ready", deadline)

    def steps(self, count: int, deadline: float) -> list[dict[str, Any]]:
        """Lets it train `count` optimizer steps; returns what it says of each.

        Raises:
            ContenderFailed: see there.
        """
        self._tell(f"step {count}")
        return [self._next("step", deadline) for _ in range(count)]

    def stop(self) -> None:
        """Ends it: it is asked first."""
        try:
            self._tell("stop")
            self._process.wait(timeout=20)
        except (ContenderFailed, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()
            os.close(self._reports)

    def _tell(self, words: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{words}\n".encode())
            self._process.stdin.flush()
        except OSError as error:
            raise ContenderFailed(self._last_words()) from error

    def _next(self, event: str, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._reports], [], [], left)[0]:
                raise ContenderFailed("took longer than the time it was given")
            received = os.read(self._reports, 65536)
            if not received:
                raise ContenderFailed(self._last_words())
            self._pending += received
        line, self._pending = self._pending.split(b"\n", 1)
        report = dict(json.loads(line))
        found = report.pop("event")
        if found == "failed":
            raise ContenderFailed(report["error"])
        if found != event:
            raise ContenderFailed(f"said {found} where {event} was expected")
        return report

    def _last_words(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:].strip()
        return f"ended: {text.splitlines()[-1] if text else 'without a word'}"


def _environment(place: Path, threads: int) -> dict[str, str]:
    """The same for all: threads, and no cache from earlier runs but the file system's.

    Threads of OpenMP that wait are left to its default (they sleep within milliseconds): asleep at
    once, they would have to be woken for every product of their own process.
    """
    # The compilers' caches too, or the second run would tell another time to the first step.
    caches = {
        "TORCHINDUCTOR_CACHE_DIR": str(place / "inductor"),
        "HF_DATASETS_CACHE": str(place / "datasets"),
    }
    common = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    return os.environ | caches | common
