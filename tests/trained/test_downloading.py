"""A checkpoint that Determined has is downloaded by its own client, once, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_checkpoints import Adapters

from cluster.standin.master import Master
from cluster.standin.one_trial import users_master
from det_files.cluster.manifest import list_files
from det_files.faults import ConfigError
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.downloading import cache_directory
from det_files.trained.locating import locate

UUID = "0f3c21ef-6d49-4979-8ef9-40d208ac3daa"


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    with users_master(tmp_path, "m") as running:
        yield running


@pytest.fixture
def stored(master: Master, adapters: Adapters, tmp_path: Path) -> Path:
    """The directory in the cluster's storage of a checkpoint that its trial has reported."""
    directory = tmp_path / "storage" / UUID
    shutil.copytree(adapters("lora"), directory)
    _, trial = master.cluster.find(1)
    said = {
        "uuid": UUID,
        "resources": {name: str(size) for name, size in list_files(directory).items()},
        "metadata": json.loads((directory / "metadata.json").read_text()),
        "state": "STATE_COMPLETED",
        "taskId": trial.task,
    }
    trial.checkpoints.append(said)
    return directory


def test_a_checkpoint_is_downloaded_once(master: Master, stored: Path) -> None:
    directory = locate(UUID)
    assert directory == cache_directory() / UUID
    assert list_files(directory) == list_files(stored)
    assert open_checkpoint(directory).method == "lora"
    master.close()
    assert locate(UUID.upper()) == directory


def test_what_comes_damaged_is_not_kept(stored: Path) -> None:
    weights = stored / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match="its digest is not the manifest's"):
        locate(UUID)
    assert not list(cache_directory().glob("[!.]*"))
    assert not list(cache_directory().glob(".*partial*"))


def test_a_checkpoint_that_the_master_does_not_have(master: Master) -> None:
    with pytest.raises(ConfigError, match="the master has no such checkpoint"):
        locate(UUID)


def test_one_that_was_deleted(master: Master, stored: Path) -> None:
    master.cluster.find(1)[1].checkpoints[0]["state"] = "STATE_DELETED"
    with pytest.raises(ConfigError, match="Checkpoint state: STATE_DELETED"):
        locate(UUID)


def test_a_master_that_is_not_there(master: Master) -> None:
    master.close()
    with pytest.raises(ConfigError, match="cannot be had from Determined"):
        locate(UUID)
    assert not (cache_directory() / UUID).exists()


def test_a_name_that_is_neither_a_directory_nor_a_uuid(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path
    with pytest.raises(ConfigError, match="no such directory, and no UUID"):
        locate("runs/smolm2/1")
