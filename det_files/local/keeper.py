"""The process between the runner and a trial's torchrun; nothing of a trial outlives it.

    runner ──stdin (a pipe)──▶ keeper ──▶ torchrun ──▶ ranks, each in a session of its own

The pipe carries nothing. It ends when the runner closes it (stop now) or when the runner is no
more, be it by SIGKILL: in both cases the keeper kills all that it has started. PR_SET_PDEATHSIG
would not do: torchrun's children do not inherit it. The keeper is a subreaper, so ranks that lose
their torchrun (the out-of-memory killer) are still found.

The keeper also writes log.txt, so that the log is complete even when the runner has died.
Standard library only: it has to start quickly and to weigh nothing beside the ranks.
"""

import argparse
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from det_files.local.process_tree import become_subreaper, kill_descendants
from det_files.local.rank_logs import LAUNCHER_PREFIX, LineStream, RankLogs

POLL_S = 0.1
KILLED = 128 + signal.SIGKILL  # the shell's convention for "died of SIGKILL"
RUNNER_PIPE = 0  # stdin


class Log:
    """log.txt, to which torchrun's own output and that of the ranks are appended."""

    def __init__(self, file: BinaryIO, ranks: RankLogs):
        self._file = file
        self._ranks = ranks
        self._launcher = LineStream(LAUNCHER_PREFIX)

    def write_launcher(self, data: bytes) -> None:
        self._write(self._launcher.feed(data))

    def write_ranks(self) -> None:
        self._write(self._ranks.drain())

    def finish(self) -> None:
        self._write(self._ranks.finish() + self._launcher.flush())

    def _write(self, lines: bytes) -> None:
        # A full disk costs log lines; training may well go on to its next checkpoint.
        with contextlib.suppress(OSError):
            self._file.write(lines)


def keep(command: Sequence[str], directory: Path, log: Log) -> int:
    """Runs `command` in `directory` until it ends or the runner's pipe does; returns its exit code.

    Returns:
        The exit code; 128 + n where torchrun died of signal n; 137 where the pipe ended first.
    """
    torchrun = subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert torchrun.stdout is not None
    output = torchrun.stdout.fileno()
    watched = [RUNNER_PIPE, output]
    try:
        while torchrun.poll() is None:
            ready, _, _ = select.select(watched, [], [], POLL_S)
            if output in ready:
                data = os.read(output, 1 << 16)
                log.write_launcher(data)
                if not data:
                    watched.remove(output)
            if RUNNER_PIPE in ready and not os.read(RUNNER_PIPE, 1 << 10):
                return KILLED
            log.write_ranks()
        return torchrun.returncode if torchrun.returncode >= 0 else 128 - torchrun.returncode
    finally:
        kill_descendants(os.getpid())
        # Everyone who could write is dead, so this reads to the end and does not block.
        log.write_launcher(torchrun.stdout.read())
        log.finish()


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the runner's call, keeps one torchrun and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m det_files.local.keeper")
    parser.add_argument("--log", type=Path, required=True, help="log.txt, appended to")
    parser.add_argument("--rank_logs", type=Path, required=True, help="torchrun's --log-dir")
    parser.add_argument("--directory", type=Path, required=True, help="where torchrun runs")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    # A service manager signals every process of a unit at once: the runner answers, not we. A
    # handler, unlike SIG_IGN, is not inherited by torchrun.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    become_subreaper()
    with open(args.log, "ab", buffering=0) as file:
        code = keep(args.command, args.directory, Log(file, RankLogs(args.rank_logs)))
    shutil.rmtree(args.rank_logs, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
