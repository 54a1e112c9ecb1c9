"""Directories and files by which a trial off-cluster and whoever started it talk to each other."""

from __future__ import annotations

import os
import re
from pathlib import Path

METRICS_FILE = "metrics.jsonl"
METADATA_FILE = "metadata.json"  # made by the trial: what its next start has to know
STOP_FILE = "stop"  # made by the runner: save a checkpoint and exit with 0
PREEMPTED_FILE = "preempted"  # made by the trial, once that checkpoint is published
CONFIG_ERROR_FILE = "config_error"  # made by the trial on a ConfigError: a restart would not help
OUT_OF_MEMORY_FILE = "out_of_memory"  # made by a measuring trial, for which it is a result
# Made by a runner whose searcher stops trials: it answers every validation in it, one JSON object a
# line, {"steps_completed", "stop"}, and the trial waits for the answer.
DECISIONS_FILE = "decisions.jsonl"


def directory_name(experiment_name: str) -> str:
    """The experiment's name as one path component: "a/b c" becomes "a_b_c"."""
    return re.sub(r"[^\w.+=@-]+", "_", experiment_name).lstrip(".") or "experiment"


def make_next_directory(parent: Path) -> Path:
    """Makes the next numbered directory in `parent`, which is made if need be.

    Raises:
        OSError: nothing can be written there.
    """
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(p.name) for p in parent.iterdir() if p.name.isdecimal()), default=0)
    while True:
        number += 1
        run = parent / str(number)
        try:
            run.mkdir()  # atomic: of two runs one gets the number
            return run
        except FileExistsError:
            continue


def end_torn_line(path: Path) -> None:
    """Ends a last line that a killed run left unfinished, so that the next row stands alone."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.write(b"\n")
