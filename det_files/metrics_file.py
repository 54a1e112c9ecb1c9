"""metrics.jsonl: the file in which a trial off-cluster leaves its metrics, one object a line."""

from __future__ import annotations

import os
from pathlib import Path

METRICS_FILE = "metrics.jsonl"


def end_torn_line(path: Path) -> None:
    """Ends a last line that a killed run left unfinished, so that the next row stands alone."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.write(b"\n")
