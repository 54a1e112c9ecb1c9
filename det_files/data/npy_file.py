"""A one-dimensional .npy file that is written piece by piece, its length known only at the end.

The format is numpy's, version 1.0 (numpy.lib.format): a header of a fixed size, then the numbers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

_HEADER_BYTES = 128
_BUFFER_BYTES = 1 << 20


class NpyFile:
    """Numbers of one kind, appended to a file."""

    def __init__(self, path: Path, kind: str) -> None:
        """`kind` is numpy's name of a number: `<i4`."""
        self._kind = np.dtype(kind)
        self._count = 0
        self._stream = path.open("wb", buffering=_BUFFER_BYTES)
        self._stream.write(bytes(_HEADER_BYTES))

    def append(self, numbers: Any) -> None:
        """Appends a sequence or array of numbers."""
        array = np.asarray(numbers, dtype=self._kind)
        self._stream.write(array.tobytes())
        self._count += len(array)

    def abandon(self) -> None:
        """Closes the file as it is."""
        self._stream.close()

    def close(self) -> None:
        """Writes the header and brings all to disk."""
        kind = np.lib.format.dtype_to_descr(self._kind)
        head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': ({self._count},), }}"
        magic = np.lib.format.magic(1, 0)
        length = _HEADER_BYTES - len(magic) - 2
        self._stream.seek(0)
        self._stream.write(magic + length.to_bytes(2, "little"))
        self._stream.write(head.ljust(length - 1).encode("latin-1") + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
