"""A stand-in master with one experiment of one trial, which is the current user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml

from cluster.standin.master import OPERATIONS, Master


@contextmanager
def users_master(directory: Path, metric: str) -> Iterator[Master]:
    """Runs it; its trial's searcher goes by `metric`, and its checkpoints lie in storage/.

    The environment says where it is and who asks, and that downloads go to cache/.
    """
    from determined.experimental import client

    running = Master(directory / "cluster", [0])
    length = {"max_length": {"batches": 4}} if OPERATIONS else {}
    config = {
        "name": "x",
        "entrypoint": "true",
        "searcher": {"name": "single", "metric": metric} | length,
        "checkpoint_storage": {"type": "shared_fs", "host_path": str(directory / "storage")},
    }
    requests.post(
        f"{running.url}/api/v1/experiments",
        json={"config": yaml.safe_dump(config), "modelDefinition": []},
        headers={"Authorization": "Bearer user-token"},
    ).raise_for_status()
    os.environ |= {
        "DET_MASTER": running.url,
        "DET_USER": "determined",
        "DET_USER_TOKEN": "user-token",
        "DET_FILES_CHECKPOINTS": str(directory / "cache"),
        "HOME": str(directory / "home"),
    }
    client._determined = None  # of another test's master
    yield running
    client._determined = None
    running.close()
