"""DeepSpeed's buffers in /dev/shm do not outlive a run, however it ends."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import set_arguments, start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("ending", ["its own", "SIGKILL"])
def test_nothing_is_left(tiny_overrides: dict[str, Any], tmp_path: Path, ending: str) -> None:
    port = free_port()
    options = {
        "deepspeed_config": "ds_configs/ds_config_stage_2.json",
        "training_arguments__max_steps": 2 if ending == "its own" else 5000,
        "training_arguments__per_device_train_batch_size": 4,
        "training_arguments__save_strategy": "no",
        "training_arguments__eval_strategy": "no",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    command += ["-m", "det_files.run_clm", "--trial_dir", str(tmp_path)]
    process = start([*command, *set_arguments(tiny_overrides | options)])
    metrics, deadline = tmp_path / "metrics.jsonl", time.monotonic() + 240
    while ending == "SIGKILL" and process.poll() is None and time.monotonic() < deadline:
        if metrics.exists():
            for one in psutil.Process(process.pid).children(recursive=True):
                one.kill()
            break
        time.sleep(0.05)
    output = process.communicate(timeout=240)[0]
    assert metrics.exists(), output[-4000:]
    if "shm_comm_op built successfully" not in output:
        pytest.skip("DeepSpeed has no shared memory operator for this processor")
    assert not list(Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*"))
