"""The entrypoint under torchrun with two agents of one rank each, as on two nodes.

Unlike two nodes, both share this machine's loopback and its disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from forked_ranks import free_port

from conftest import RunTrial, Trial, set_arguments, start


def start_agent(node: int, port: int, arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    command += ["--node_rank", str(node), "--nproc_per_node", "1"]
    command += ["--master_addr", "127.0.0.1", "--master_port", str(port)]
    return start([*command, "-m", "det_files.run_clm", *arguments])


def test_two_agents_train_as_one_trial(
    tiny_overrides: dict[str, Any], run_trial: RunTrial, tmp_path: Path
) -> None:
    options = {
        "deepspeed_config": "ds_configs/ds_config_stage_3.json",
        "training_arguments__per_device_train_batch_size": 4,
        "training_arguments__max_steps": 3,
    }
    arguments = ["--trial_dir", str(tmp_path / "two"), *set_arguments(tiny_overrides | options)]
    port = free_port()
    agents = [start_agent(node, port, arguments) for node in (0, 1)]
    outputs = [agent.communicate(timeout=240)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(outputs)
    together = Trial(tmp_path / "two", 0, outputs[0])
    one = run_trial(tmp_path / "one", 2, **options)
    assert together.losses() == one.losses()
    # Each rank's part of the optimizer is in the one checkpoint, listed in its manifest.
    (checkpoint,) = (tmp_path / "two" / "checkpoints").iterdir()
    listed = json.loads((checkpoint / "manifest.json").read_text())["files"]
    parts = [name for name in listed if "optim_states" in name]
    assert len(parts) == 2
