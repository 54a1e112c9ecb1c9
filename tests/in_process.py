"""A trial run in this process: one rank, from hyperparameters to its checkpoint."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from conftest import set_arguments
from det_files.trained.locating import find_checkpoint


def run_here(
    trial: Path, hyperparameters: Mapping[str, Any], module: str = "det_files.run_clm"
) -> Path:
    """Trains on hyperparameters `{"section__name": value}`; returns the last checkpoint."""
    main = importlib.import_module(module).main
    flags = [module, "--trial_dir", str(trial), *set_arguments(hyperparameters)]
    with mock.patch.object(sys, "argv", flags):
        main()
    return find_checkpoint(trial, None)


def last_validation(trial: Path) -> dict[str, float]:
    """The metrics of the last evaluation."""
    rows = map(json.loads, (trial / "metrics.jsonl").read_text().splitlines())
    return [row["metrics"] for row in rows if row["group"] == "validation"][-1]
