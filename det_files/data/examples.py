"""Examples: tokenized rows as a dataset, read off memory-mapped entries of the token cache.

An entry's rows, or some of them, are a part; plain text is cut into blocks on the way. Parts one
behind the other are the dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from det_files.data.token_entry import Entry
from det_files.data.tokenization import IGNORED, Example

Numbers = np.ndarray


class Part(Protocol):
    """Some examples of one source."""

    lengths: Numbers  # tokens of each [N]
    supervised: Numbers  # learned tokens of each [N]

    def read(self, index: int) -> tuple[Numbers, Numbers]:
        """(tokens [S] int64, 0 where a token is not learned [S]) of one example."""


class Rows:
    """Rows of an entry: all, or those of the given numbers."""

    def __init__(self, entry: Entry, numbers: Numbers | None = None) -> None:
        self._entry = entry
        self._numbers = numbers
        lengths, supervised = np.diff(entry.offsets), entry.learned_counts.astype(np.int64)
        self.lengths = lengths if numbers is None else lengths[numbers]
        self.supervised = supervised if numbers is None else supervised[numbers]

    def read(self, index: int) -> tuple[Numbers, Numbers]:
        number = index if self._numbers is None else self._numbers[index]
        start, stop = self._entry.offsets[number], self._entry.offsets[number + 1]
        tokens = self._entry.tokens[start:stop].astype(np.int64)
        return tokens, self._entry.learned[start:stop]


class TextBlocks:
    """Documents of an entry, end to end, in blocks of `block_size` tokens; the last is shorter.

    Every token of a block but its first is learned. A block of one token would teach nothing and
    is left out.
    """

    def __init__(self, entry: Entry, block_size: int, numbers: Numbers | None = None) -> None:
        self._entry = entry
        self._numbers = np.arange(len(entry)) if numbers is None else numbers
        self._size = block_size
        starts, stops = entry.offsets[self._numbers], entry.offsets[self._numbers + 1]
        # Where each document begins in the stream of those chosen, and the end of all.
        self._begins = np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int64)
        total = int(self._begins[-1])
        lengths = np.full(-(-total // block_size), block_size, dtype=np.int64)
        if len(lengths):
            lengths[-1] = total - (len(lengths) - 1) * block_size
        self.lengths = lengths[lengths > 1]
        self.supervised = self.lengths - 1

    def read(self, index: int) -> tuple[Numbers, Numbers]:
        start = index * self._size
        stop = start + int(self.lengths[index])
        first, last = np.searchsorted(self._begins, [start, stop - 1], side="right") - 1
        pieces = []
        for document in range(first, last + 1):
            begin = int(self._begins[document])
            offset = int(self._entry.offsets[self._numbers[document]]) - begin
            end = min(stop, int(self._begins[document + 1]))
            pieces.append(self._entry.tokens[max(start, begin) + offset : end + offset])
        learned = np.ones(stop - start, dtype=bool)
        learned[0] = False
        return np.concatenate(pieces).astype(np.int64), learned


class Examples(Dataset[Example]):
    """The examples of all parts, one part behind the other.

    `lengths` are tokens a row [N] int64, `supervised` learned tokens a row [N] int64.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        none = np.empty(0, dtype=np.int64)
        self.lengths = np.concatenate([none, *(part.lengths for part in parts)])
        self.supervised = np.concatenate([none, *(part.supervised for part in parts)])
        self.sizes = [len(part.lengths) for part in parts]
        self._ends = np.cumsum(self.sizes, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def describe(self, split: str) -> dict[str, Any]:
        """Counts for the log: rows, tokens, the longest row, supervised tokens."""
        return {
            "split": split,
            "rows": len(self),
            "rows_by_source": self.sizes,
            "tokens": int(self.lengths.sum()),
            "longest": int(self.lengths.max(initial=0)),
            "supervised_tokens": int(self.supervised.sum()),
        }

    def __getitem__(self, index: int) -> Example:
        tokens, learned = self.read(index)
        return {
            "input_ids": torch.from_numpy(tokens),
            "labels": torch.from_numpy(np.where(learned != 0, tokens, IGNORED)),
        }

    def read(self, index: int) -> tuple[Numbers, Numbers]:
        """`Part.read` of the part that the example is in."""
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, number, side="right"))
        before = int(self._ends[part]) - self.sizes[part]
        return self.parts[part].read(int(number) - before)
