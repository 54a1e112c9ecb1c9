"""DeepSpeed's buffers in /dev/shm do not outlive a run, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from forked_ranks import free_port

from conftest import ROOT, rank_environment, set_arguments

# One that leaves the names where they are, as DeepSpeed does.
KEEPING = "import deepspeed; deepspeed.init_distributed('gloo', verbose=False)"
JOINING = """
from det_files.cluster.distributed import join_process_group
join_process_group(deepspeed=True, cpu=True, timeout_s=60)
"""


def start_ranks(port: int, *words: str) -> subprocess.Popen[str]:
    """Two ranks as the runner starts them: DeepSpeed asks for LOCAL_SIZE."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), *words]
    environment = rank_environment(LOCAL_SIZE="2", DS_ACCELERATOR="cpu")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)


def buffers(port: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*"))


def run(tmp_path: Path, code: str) -> list[Path]:
    script, port = tmp_path / "ranks.py", free_port()
    script.write_text(code)
    process = start_ranks(port, str(script))
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output[-4000:]
    return buffers(port)


def test_their_names_go_as_soon_as_ranks_have_joined(tmp_path: Path) -> None:
    left = run(tmp_path, KEEPING)
    for path in left:
        path.unlink()
    if not left:
        pytest.skip("DeepSpeed's shared memory operator makes no buffers on this machine")
    assert len(left) == 2
    assert run(tmp_path, JOINING) == []


def test_a_killed_run_leaves_none(tiny_overrides: dict[str, Any], tmp_path: Path) -> None:
    port = free_port()
    options = {
        "deepspeed_config": "ds_configs/ds_config_stage_2.json",
        "training_arguments__max_steps": 5000,
        "training_arguments__per_device_train_batch_size": 4,
        "training_arguments__save_strategy": "no",
        "training_arguments__eval_strategy": "no",
    }
    words = ["-m", "det_files.run_clm", "--trial_dir", str(tmp_path)]
    process = start_ranks(port, *words, *set_arguments(tiny_overrides | options))
    metrics, deadline = tmp_path / "metrics.jsonl", time.monotonic() + 240
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    for one in psutil.Process(process.pid).children(recursive=True):
        one.send_signal(signal.SIGKILL)
    output = process.communicate(timeout=240)[0]
    assert metrics.exists(), output[-4000:]
    assert buffers(port) == []
