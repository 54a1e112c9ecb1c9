"""An entry of the token cache: the tokens of one split, in files that are read memory-mapped.

tokens.npy           int32, all rows end to end
learned.npy          uint8, 1 where a token is learned
offsets.npy          int64, where each row begins, and the end
learned_counts.npy   int32, learned tokens of each row
meta.json            counts, and the files' sizes
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from det_files.data.npy_file import NpyFile
from det_files.durable import sync_directory

_ARRAYS = {"tokens": "<i4", "learned": "|u1", "offsets": "<i8", "learned_counts": "<i4"}

Meta = dict[str, Any]


class Damaged(Exception):
    """An entry is not what its meta.json says."""


@dataclass(frozen=True)
class Entry:
    """A tokenized split, memory-mapped: N rows of T tokens together.

    Attributes:
        tokens: [T] int32.
        learned: [T] uint8.
        offsets: [N + 1] int64.
        learned_counts: [N] int32.
        meta: what the builder has counted.
    """

    directory: Path
    tokens: np.ndarray
    learned: np.ndarray
    offsets: np.ndarray
    learned_counts: np.ndarray
    meta: Meta

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process maps the files itself; it is not sent their content.
        return read_entry, (self.directory,)


class EntryWriter:
    """Takes the rows of an entry one after another."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        self._files = {
            name: NpyFile(directory / f"{name}.npy", kind) for name, kind in _ARRAYS.items()
        }
        self._rows = self._tokens = self._row_learned = 0
        self._files["offsets"].append([0])

    def add(self, tokens: Any, learned: Any) -> None:
        """Appends one row: its token ids [S], and which of them are learned [S]."""
        self.extend(tokens, learned)
        self.end_row()

    def extend(self, tokens: Any, learned: Any) -> None:
        """Appends a part of a row, which `end_row` ends."""
        self._files["tokens"].append(tokens)
        self._files["learned"].append(learned)
        self._tokens += len(tokens)
        self._row_learned += int(np.count_nonzero(learned))

    def end_row(self) -> None:
        """Ends a row."""
        self._files["offsets"].append([self._tokens])
        self._files["learned_counts"].append([self._row_learned])
        self._rows += 1
        self._row_learned = 0

    def abandon(self) -> None:
        """Closes the files of a build that has failed."""
        for file in self._files.values():
            file.abandon()

    def finish(self, meta: Mapping[str, Any]) -> None:
        """Writes all that is left to disk, meta.json last."""
        for file in self._files.values():
            file.close()
        sizes = {f"{n}.npy": (self._directory / f"{n}.npy").stat().st_size for n in _ARRAYS}
        whole = {**meta, "rows": self._rows, "tokens": self._tokens, "bytes": sizes}
        with (self._directory / "meta.json").open("w", encoding="utf-8") as stream:
            json.dump(whole, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        sync_directory(self._directory)


def read_entry(directory: Path) -> Entry:
    """Maps an entry's files.

    Raises:
        FileNotFoundError: there is none.
        Damaged: its files are not those that meta.json describes.
    """
    if not directory.is_dir():
        raise FileNotFoundError(directory)
    try:
        meta = json.loads((directory / "meta.json").read_text(encoding="utf-8"))
        for name, size in meta["bytes"].items():
            if (directory / name).stat().st_size != size:
                raise Damaged(f"{name} does not have {size} bytes")
        arrays = {name: _map(directory / f"{name}.npy", kind) for name, kind in _ARRAYS.items()}
        entry = Entry(directory, **arrays, meta=meta)
        lengths = [len(array) for array in arrays.values()]
        expected = [meta["tokens"], meta["tokens"], meta["rows"] + 1, meta["rows"]]
        if lengths != expected or int(entry.offsets[-1]) != meta["tokens"]:
            raise Damaged(f"has arrays of {lengths}, expected {expected}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
    return entry


def _map(path: Path, kind: str) -> np.ndarray:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != np.dtype(kind) or array.ndim != 1:
        raise Damaged(f"{path.name} holds {array.dtype} of {array.ndim} dimensions")
    return array
