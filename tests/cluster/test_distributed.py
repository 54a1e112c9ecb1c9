"""The ranks of a trial find each other, whatever started them."""

from __future__ import annotations

from typing import Any

import pytest
from forked_ranks import on_two_ranks

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


def meet(rank: int) -> Any:
    """(what all ranks said, local rank, hosts, the chief's port)."""
    join_process_group(deepspeed=False, cpu=True, timeout_s=30)
    channel = control_channel()
    assert channel is not None
    said = channel.allgather(f"rank {rank}")
    found = (said, channel.local_rank, channel.cross_size), channel._pub_port
    channel.close()
    leave_process_group()
    return found


MET = [(["rank 0", "rank 1"], rank, 1) for rank in range(2)]


def test_two_trials_on_one_machine_use_different_ports() -> None:
    ports = set()
    for _ in range(2):
        found, used = zip(*on_two_ranks(meet), strict=True)
        assert list(found) == MET
        assert used[0] == used[1]
        ports.add(used[0])
    assert len(ports) == 2


def test_deepspeeds_launcher_is_understood() -> None:
    found, _ = zip(*on_two_ranks(meet, CROSS_RANK="0", CROSS_SIZE="1", LOCAL_SIZE="2"), strict=True)
    assert list(found) == MET
