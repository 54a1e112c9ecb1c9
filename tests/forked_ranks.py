"""Two ranks as forked processes, for what needs ranks but no trial."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as_rank(rank: int, environment: dict[str, str], work: Callable[[int], Any], put: Any) -> None:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "GROUP_RANK": 0}
    ranks |= {"LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in ranks.items()} | environment)
    put((rank, work(rank)))


def on_two_ranks(work: Callable[[int], Any], **environment: str) -> list[Any]:
    """What `work(rank)` returns on each of two ranks, in a launcher's environment."""
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [
        fork.Process(target=_as_rank, args=(rank, environment, work, results.put))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    return [found[rank] for rank in range(2)]
