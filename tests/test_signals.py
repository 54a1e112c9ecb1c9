"""SIGTERM to torchrun itself, as Slurm sends it: the ranks save together before they are killed."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

from conftest import set_arguments, start


def test_a_signal_to_all_ranks_ends_in_a_checkpoint(
    tiny_overrides: dict[str, Any], tmp_path: Path
) -> None:
    options = {
        "training_arguments__max_steps": 5000,
        "training_arguments__per_device_train_batch_size": 4,
        "training_arguments__save_strategy": "no",
        "training_arguments__eval_strategy": "no",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "-m", "det_files.run_clm", "--trial_dir", str(tmp_path)]
    process = start([*command, *set_arguments(tiny_overrides | options)])
    deadline = time.monotonic() + 120
    metrics = tmp_path / "metrics.jsonl"
    while not metrics.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert (tmp_path / "preempted").exists(), output
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    assert (checkpoint / "manifest.json").is_file()
