"""The ranks of a trial find each other, whatever started them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from typing import Any

import pytest

from det_files.cluster.distributed import (
    control_channel,
    join_process_group,
    leave_process_group,
    on_cpu,
)
from det_files.faults import ConfigError

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "CROSS_RANK")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)


def test_the_cpu_can_be_asked_for() -> None:
    assert on_cpu(use_cpu=True)


def test_a_lone_process_needs_no_channel_and_no_group() -> None:
    import torch.distributed

    join_process_group(deepspeed=False, cpu=True, timeout_s=5)
    assert not torch.distributed.is_initialized()
    assert control_channel() is None
    leave_process_group()


def test_a_launcher_that_does_not_tell_ranks_apart_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="set RANK but no LOCAL_WORLD_SIZE, GROUP_RANK"):
        control_channel()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def as_rank(rank: int, environment: dict[str, str], deepspeeds: bool, results: Any) -> None:
    """Joins as one of 2 ranks and puts (rank, what all ranks said, local rank, hosts, ports)."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "GROUP_RANK": 0}
    sizes = {"CROSS_RANK": 0, "CROSS_SIZE": 1, "LOCAL_SIZE": 2} if deepspeeds else {}
    sizes |= {"LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in (ranks | sizes).items()})
    os.environ.update(environment)
    join_process_group(deepspeed=False, cpu=True, timeout_s=30)
    channel = control_channel()
    assert channel is not None
    said = channel.allgather(f"rank {rank}")
    results.put((rank, said, channel.local_rank, channel.cross_size, channel._pub_port))
    channel.close()
    leave_process_group()


def two_ranks(deepspeeds: bool = False) -> list[Any]:
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [
        fork.Process(target=as_rank, args=(rank, environment, deepspeeds, results))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    return found


def test_two_trials_on_one_machine_use_different_ports() -> None:
    ports = set()
    for _ in range(2):
        first, second = two_ranks()
        assert first[:4] == (0, ["rank 0", "rank 1"], 0, 1)
        assert second[:4] == (1, ["rank 0", "rank 1"], 1, 1)
        assert first[4] == second[4]
        ports.add(first[4])
    assert len(ports) == 2


def test_deepspeeds_launcher_is_understood() -> None:
    first, second = two_ranks(deepspeeds=True)
    assert first[:4] == (0, ["rank 0", "rank 1"], 0, 1)
    assert second[:4] == (1, ["rank 0", "rank 1"], 1, 1)
