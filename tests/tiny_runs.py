"""A finished run as the local runner leaves it, of a checkpoint that a test has trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from conftest import ROOT


def make_run(directory: Path, checkpoint: Path) -> Path:
    """A run's directory with one trial, the one of a checkpoint that was trained in a test."""
    shutil.copytree(checkpoint.parent.parent, directory / "trials" / "1")
    summary = {
        "experiment": "tiny",
        "directory": str(ROOT),
        "best_trial": 1,
        "trials": [{"trial": 1, "best_checkpoint": checkpoint.name}],
    }
    (directory / "summary.json").write_text(json.dumps(summary))
    return directory
