"""The journal of a generation: each answer as soon as it has ended, for a kill to lose nothing.

    OUTPUT.partial/request.json    what is generated; written first, and compared by a resume
                   rank_0.jsonl    lines of OUTPUT in the order in which answers ended, one file a
                   rank_1.jsonl    rank; a last line that a kill has torn is dropped
                   output.jsonl    for the moment of joining them

Every line reaches the kernel before the next answer is looked at, and the disk within seconds, so
that a killed process loses no answer and a power cut a few. The end of it is OUTPUT, all of it in
the input's order, or as if nothing had happened.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from det_files.durable import obstacle_to, sync_directory, write_atomically
from det_files.faults import ConfigError, Fault, Faults

SYNC_INTERVAL_S = 5.0
REQUEST_FILE = "request.json"
Key = tuple[int, int]  # row, sequence


def journal_directory(output: Path) -> Path:
    """Where the journal of an output lies, beside it."""
    return output.with_name(f"{output.name}.partial")


def find_output_faults(output: Path, resume: bool, faults: Faults) -> None:
    """Notes what forbids writing an output; both ways out of one that is there already."""
    journal = journal_directory(output)
    if output.suffix != ".jsonl":
        faults.add("--output", f"{output}: expected a name that ends with .jsonl")
    elif output.is_dir():
        faults.add("--output", f"{output} is a directory")
    elif obstacle := obstacle_to(output.parent):
        faults.add("--output", f"{output}: {obstacle}")
    elif resume and output.exists() and not journal.exists():
        faults.add("--resume", f"{output} is finished: choose another name, or remove it")
    elif not resume and journal.exists():
        reason = f"{output} was begun: --resume goes on with it, or choose another name"
        faults.add("--output", f"{reason} (what is there lies in {journal})")
    elif not resume and output.exists():
        faults.add("--output", f"{output} exists: choose another name, or remove it")


def check_request(output: Path, request: Mapping[str, Any]) -> None:
    """Makes sure that a journal, where there is one, is of the same request.

    Raises:
        ConfigError: it is of another, all that differs named.
    """
    file = journal_directory(output) / REQUEST_FILE
    if not file.exists():
        return
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(Fault(str(file), f"is not JSON: {error}")) from error
    wanted = json.loads(json.dumps(request))
    faults = Faults()
    for name in sorted(wanted.keys() | begun.keys()):
        if wanted.get(name) != begun.get(name):
            reason = f"{output} was begun with {begun.get(name)!r}, and now it is"
            faults.add("--resume", f"{name}: {reason} {wanted.get(name)!r}")
    faults.raise_if_any()


def begin_journal(output: Path, request: Mapping[str, Any]) -> None:
    """Begins a journal, or goes on with that of the same request.

    Raises:
        ConfigError: see `check_request`; the output has come into being; nothing can be written.
    """
    journal = journal_directory(output)
    faults = Faults()
    find_output_faults(output, journal.exists(), faults)  # another process may have been at work
    faults.raise_if_any()
    check_request(output, request)
    file = journal / REQUEST_FILE
    try:
        journal.mkdir(parents=True, exist_ok=True)
        if not file.exists():  # nothing was answered before it was written
            write_atomically(file, json.dumps(request, indent=1) + "\n")
            sync_directory(journal.parent)
    except OSError as error:
        raise ConfigError(Fault("--output", f"{journal}: {error.strerror}")) from error


class JournalWriter:
    """One rank's part of a journal, which is this process's alone while it is open."""

    def __init__(self, output: Path, rank: int) -> None:
        """Opens it behind its last whole line.

        Raises:
            ConfigError: another process writes it.
        """
        path = journal_directory(output) / f"rank_{rank}.jsonl"
        self._file = open(path, "a+b")  # noqa: SIM115  # closed by __exit__
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            reason = f"{path} is being written by another process"
            raise ConfigError(Fault("--resume", reason)) from None
        self._file.truncate(_whole_length(self._file))
        self._synced = time.monotonic()

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds a line; the process may be killed after it."""
        self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        if time.monotonic() - self._synced > SYNC_INTERVAL_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def _whole_length(file: BinaryIO) -> int:
    """Bytes up to the end of the last line that ends."""
    size = file.seek(0, os.SEEK_END)
    step = 1 << 16
    for start in range(max(0, size - step), -step, -step):
        file.seek(max(0, start))
        found = file.read(step).rfind(b"\n")
        if found >= 0:
            return max(0, start) + found + 1
    return 0


class Journal:
    """What all ranks' parts of a journal hold, of this start and earlier ones."""

    def __init__(self, output: Path, sequences: int) -> None:
        """Reads where each line lies; `sequences` are answers a row."""
        self._output, self._directory = output, journal_directory(output)
        self._sequences = sequences
        self._places: dict[Key, tuple[Path, int]] = {}
        for path in sorted(self._directory.glob("rank_*.jsonl")):
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    if key := _key(line):
                        self._places.setdefault(key, (path, offset))
                    offset += len(line)

    def finished_rows(self) -> set[int]:
        """The numbers of the rows that have all their answers."""
        wanted = self._sequences - 1
        last = [row for row, sequence in self._places if sequence == wanted]
        return {row for row in last if all((row, s) in self._places for s in range(wanted))}

    def records(self) -> Iterator[dict[str, Any]]:
        """The lines in order of rows and their sequences."""
        for line in self._lines():
            yield json.loads(line)

    def publish(self) -> None:
        """Makes OUTPUT of the lines, in one step, and removes the journal."""
        joined = self._directory / "output.jsonl"
        with joined.open("wb") as file:
            for line in self._lines():
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        joined.replace(self._output)
        # In one step, too: half a journal could be taken for one of another request.
        done = self._output.with_name(f".{self._output.name}.done")
        shutil.rmtree(done, ignore_errors=True)
        self._directory.rename(done)
        sync_directory(self._output.parent)
        shutil.rmtree(done)

    def _lines(self) -> Iterator[bytes]:
        with ExitStack() as stack:
            paths = {path for path, _ in self._places.values()}
            files = {path: stack.enter_context(path.open("rb")) for path in paths}
            for _, (path, offset) in sorted(self._places.items()):
                files[path].seek(offset)
                yield files[path].readline()


def _key(line: bytes) -> Key | None:
    """The row and sequence of a line; None where it is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        return int(record["row"]), int(record.get("sequence", 0))
    except (ValueError, KeyError, TypeError):
        return None
