"""Checkpoints are found by directory, by run and by trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from det_files.faults import ConfigError
from det_files.trained.locating import find_checkpoint


def publish(checkpoint: Path, steps: int) -> Path:
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "manifest.json").write_text("{}")
    (checkpoint / "metadata.json").write_text(json.dumps({"steps_completed": steps}))
    return checkpoint


def test_the_latest_checkpoint_stands_in_for_a_best_one_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no whole checkpoint"):
        find_checkpoint(tmp_path, None)
    for steps, name in ((20, "b"), (10, "a")):
        publish(tmp_path / "checkpoints" / name, steps)
    assert find_checkpoint(tmp_path, "a").name == "a"
    assert find_checkpoint(tmp_path, "gone").name == find_checkpoint(tmp_path, None).name == "b"
