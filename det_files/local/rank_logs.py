"""The ranks' output as whole lines, each with a prefix that says whose it is.

torchrun writes each rank's stdout and stderr to files of their own (`--redirects 3 --log-dir`);
they are read here and merged. torchrun's own `--tee` is not used: it prefixes whatever a read
happens to return, so a line that is written in two pieces gets two prefixes, and with torchrun's
death the last lines, a traceback perhaps, are gone. Files survive everybody.
"""

import re
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20
LAUNCHER_PREFIX = b"[torchrun] "


def rank_prefix(rank: int) -> bytes:
    """Returns the prefix of every line of a rank in log.txt."""
    return b"[rank=%d] " % rank


class LineStream:
    """Cuts a stream of bytes into prefixed whole lines; keeps the unfinished one back."""

    def __init__(self, prefix: bytes):
        self._prefix = prefix
        self._partial = b""

    def feed(self, data: bytes) -> bytes:
        """Returns the lines that `data` completes, ready to be written."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        # A progress bar rewrites its line with \r for hours: keep its last state only, as a
        # terminal would. A \r at the very end may yet be the first half of \r\n.
        end = b"\r" if self._partial.endswith(b"\r") else b""
        self._partial = _last_state(self._partial) + end
        return b"".join(self._prefix + _last_state(line) + b"\n" for line in whole)

    def flush(self) -> bytes:
        """Returns the unfinished line, if there is one, as a line."""
        return self.feed(b"\n") if self._partial else b""


def _last_state(line: bytes) -> bytes:
    return line.rstrip(b"\r").rpartition(b"\r")[2]


class RankLogs:
    """Follows all files that torchrun makes below `directory`.

    The layout is torchrun's: `<run id>/attempt_<n>/<local rank>/{stdout,stderr}.log`.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._offsets: dict[Path, int] = {}
        self._streams: dict[Path, LineStream] = {}

    def _files(self) -> Iterator[Path]:
        # By rank, stdout before stderr: a traceback then follows what was printed before it.
        found = self._directory.glob("*/attempt_*/*/std*.log")
        yield from sorted(
            found, key=lambda path: (int(path.parent.name), path.name != "stdout.log")
        )

    def drain(self) -> bytes:
        """Returns all whole lines written since the last call, one rank after the other."""
        return b"".join(self._drain(path) for path in self._files())

    def _drain(self, path: Path) -> bytes:
        stream = self._streams.setdefault(path, LineStream(rank_prefix(int(path.parent.name))))
        lines = []
        with open(path, "rb") as file:
            file.seek(self._offsets.get(path, 0))
            while data := file.read(CHUNK_BYTES):
                lines.append(stream.feed(data))
            self._offsets[path] = file.tell()
        return b"".join(lines)

    def finish(self) -> bytes:
        """Returns what is left, unfinished last lines included."""
        return self.drain() + b"".join(stream.flush() for stream in self._streams.values())


PREFIX_PATTERN = re.compile(r"\[(?:rank=(\d+)|torchrun|runner)\] ?")


def split_prefix(line: str) -> tuple[int | None, str]:
    """Returns (rank, text) of a line of log.txt; None as the rank where no rank wrote it."""
    match = PREFIX_PATTERN.match(line)
    if match is None:
        return None, line
    rank = match.group(1)
    return (None if rank is None else int(rank)), line[match.end() :]
