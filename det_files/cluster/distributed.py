"""The ranks of a trial: torch's process group and Determined's control channel beside it."""

from __future__ import annotations

import datetime
import os
import socket
from typing import Any

from determined import core
from determined.constants import INTER_TRAIN_PROCESS_COMM_PORT_1, INTER_TRAIN_PROCESS_COMM_PORT_2

from det_files.cluster.operator_locks import release_abandoned_locks
from det_files.faults import ConfigError
from det_files.shared_memory import remove_names


def on_cpu(use_cpu: bool = False) -> bool:
    """True where training runs on the CPU: asked for, or there is no GPU that torch sees."""
    import torch

    return use_cpu or not torch.cuda.is_available()


def computes_in_float16(deepspeed: bool, use_cpu: bool = False) -> bool:
    """True where training in float16 is possible here.

    On the CPU it takes DeepSpeed, whose loss scaling works there, and a processor with float16
    arithmetic, for which DeepSpeed asks the same question; accelerate has none for the CPU.
    """
    import torch

    if not on_cpu(use_cpu):
        return True
    return deepspeed and bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def join_process_group(deepspeed: bool, cpu: bool, timeout_s: int) -> None:
    """Makes this process a member of the trial's process group, where a launcher started it.

    DeepSpeed must be initialised here, before TrainingArguments: they would otherwise count one
    rank on the CPU. Does nothing for a single process without a launcher and without DeepSpeed.
    """
    import torch

    if cpu:
        # Only where torch sees a GPU would DeepSpeed choose another accelerator; said once, here.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    else:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if "RANK" not in os.environ and not deepspeed:
        return
    if "RANK" not in os.environ:
        _pretend_launcher()
    backend = "gloo" if cpu else "nccl"
    timeout = datetime.timedelta(seconds=timeout_s)
    if deepspeed:
        import deepspeed as ds

        if os.environ.get("LOCAL_RANK", "0") == "0":
            release_abandoned_locks()
        ds.init_distributed(dist_backend=backend, timeout=timeout, verbose=False)
        if cpu:
            remove_names()
    elif not torch.distributed.is_initialized():
        torch.distributed.init_process_group(backend=backend, timeout=timeout)


def _pretend_launcher() -> None:
    """The environment of a launcher with one rank: DeepSpeed asks for it even then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "GROUP_RANK": 0}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ.update({"GROUP_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"})
    os.environ.setdefault("MASTER_PORT", str(port))


def control_channel() -> core.DistributedContext | None:
    """Determined's DistributedContext over the ranks of this trial; None for one lone process.

    Raises:
        ConfigError: a launcher set RANK but not what else is needed to tell the ranks apart.
    """
    if "RANK" not in os.environ:
        return None
    # torchrun's names, and those of DeepSpeed's launcher.
    local_size = os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE")
    node = os.environ.get("GROUP_RANK") or os.environ.get("CROSS_RANK")
    nodes = os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("CROSS_SIZE") or "1"
    if local_size is None or node is None:
        raise ConfigError("the launcher set RANK but no LOCAL_WORLD_SIZE, GROUP_RANK: use torchrun")
    ports = _ports()
    return core.DistributedContext(
        rank=int(os.environ["RANK"]),
        size=int(os.environ["WORLD_SIZE"]),
        local_rank=int(os.environ["LOCAL_RANK"]),
        local_size=int(local_size),
        cross_rank=int(node),
        cross_size=int(nodes),
        chief_ip=os.environ.get("DET_CHIEF_IP") or os.environ.get("MASTER_ADDR"),
        pub_port=ports[0],
        pull_port=ports[1],
    )


def _ports() -> tuple[int, int]:
    """The channel's two ports: those of the environment, else free ones that rank 0 finds.

    The defaults are the same for every trial on a machine, so two at once would meet.
    """
    fixed = (INTER_TRAIN_PROCESS_COMM_PORT_1, INTER_TRAIN_PROCESS_COMM_PORT_2)
    if "INTER_TRAIN_PROCESS_COMM_PORT_1" in os.environ or os.environ["WORLD_SIZE"] == "1":
        return fixed
    import torch.distributed

    found: list[Any] = [None]
    if torch.distributed.get_rank() == 0:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            second.bind(("", 0))
            found = [(first.getsockname()[1], second.getsockname()[1])]
    torch.distributed.broadcast_object_list(found, src=0)
    return found[0]


def leave_process_group() -> None:
    """Leaves the process group, if any; a rank that just exits makes the others warn or hang."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
