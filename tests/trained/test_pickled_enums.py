"""Only members of a known enumeration may be fetched by a pickle's getattr."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.config import ZeroStageEnum

from det_files.faults import ConfigError
from det_files.trained.pickled_enums import gets_members_alone
from det_files.trained.zero_shards import read_zero_shards

ENUMERATION = b"cdeepspeed.runtime.zero.config\nZeroStageEnum\n"
GETATTR = b"c__builtin__\ngetattr\n"


class Fetched:
    """What getattr(owner, name) gives, as Python 3.11.0 to 3.11.3 pickled members."""

    def __init__(self, owner: Any, *names: Any) -> None:
        self._given = (owner, *names)

    def __reduce__(self) -> Any:
        return getattr, self._given


class Called:
    """What a function returns."""

    def __init__(self, function: Any, *given: Any) -> None:
        self._function, self._given = function, given

    def __reduce__(self) -> Any:
        return self._function, self._given


def saved(directory: Path, value: Any) -> Path:
    file = directory / "shard.pt"
    torch.save(value, file)
    return file


def with_pickle(file: Path, pickled: bytes, entry: str = "shard/data.pkl") -> Path:
    """The file with another pickle in it, and nothing else."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, pickled)
        archive.writestr(f"{entry.split('/')[0]}/version", "3\n")
    return file


def shard(*stages: Any) -> dict[str, Any]:
    parts = OrderedDict(weight=torch.nn.Parameter(torch.ones(3)))
    return {"zero_stage": list(stages), "groups": [torch.ones(4)], "shapes": [parts, {1}]}


def test_members_are_fetched(tmp_path: Path) -> None:
    stages = [Fetched(ZeroStageEnum, name) for name in ("weights", "weights", "gradients")]
    file = saved(tmp_path, shard(*stages))
    assert gets_members_alone(file, ZeroStageEnum)
    loaded = torch.load(file, weights_only=False)["zero_stage"]
    assert loaded == [ZeroStageEnum.weights, ZeroStageEnum.weights, ZeroStageEnum.gradients]


@pytest.mark.parametrize(
    "stage",
    [
        Fetched(str, "format"),
        Fetched(ZeroStageEnum, "__init__"),
        Fetched(ZeroStageEnum, "mro"),
        Fetched(ZeroStageEnum, "weights", "default"),
        Fetched(Fetched(ZeroStageEnum, "weights"), "__class__"),
        [Fetched(ZeroStageEnum, "weights"), Fetched(dict, "get")],  # one that is fine before it
        # As an argument of a function that calls it.
        Called(
            torch._tensor._rebuild_from_type_v2,
            *(getattr, OrderedDict, (torch._utils._rebuild_tensor, "none", OrderedDict()), None),
        ),
        [Fetched(ZeroStageEnum, "weights"), Called(ZeroStageEnum, 3)],
    ],
)
def test_anything_else_is_refused(tmp_path: Path, stage: Any) -> None:
    assert not gets_members_alone(saved(tmp_path, shard(stage)), ZeroStageEnum)


@pytest.mark.parametrize(
    "pickled",
    [
        # The enumeration is changed, so that other names are members of it.
        ENUMERATION + b"N}X\x0c\x00\x00\x00_member_map_}s\x86b0" + GETATTR + ENUMERATION,
        # getattr is put into the memo and called from there, behind one that is fine.
        GETATTR + b"q\x01" + ENUMERATION + b"X\x07\x00\x00\x00weights\x86R0h\x01cos\npath\n",
        # A place in the memo is used again for getattr.
        b"X\x07\x00\x00\x00weightsq\x01" + GETATTR + b"q\x010h\x01" + ENUMERATION,
    ],
)
def test_pickles_by_hand_are_refused(tmp_path: Path, pickled: bytes) -> None:
    tail = b"X\x07\x00\x00\x00weights\x86R."
    file = with_pickle(tmp_path / "shard.pt", b"\x80\x02" + pickled + tail)
    assert not gets_members_alone(file, ZeroStageEnum)


def test_the_entry_that_torch_reads_is_read(tmp_path: Path) -> None:
    harmless = b"\x80\x02" + GETATTR + ENUMERATION + b"X\x07\x00\x00\x00weights\x86R."
    file = with_pickle(tmp_path / "shard.pt", pickle.dumps(Fetched(str, "format"), 2), "x/DATA.PKL")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("x/y/data.pkl", harmless)
    assert not gets_members_alone(file, ZeroStageEnum)
    assert gets_members_alone(with_pickle(tmp_path / "other.pt", harmless), ZeroStageEnum)


def test_other_files_are_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "shard.pt"
    file.write_bytes(b"no archive")
    with pytest.raises(RuntimeError):
        gets_members_alone(file, ZeroStageEnum)
    with pytest.raises(ValueError):
        gets_members_alone(with_pickle(file, b"\x80\x02X\xff"), ZeroStageEnum)


@pytest.fixture
def copied(zero_checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint whose first optimizer shard can be written again."""
    return Path(shutil.copytree(zero_checkpoints["scattered"], tmp_path / "copied"))


def rewrite(checkpoint: Path, stage: Any) -> None:
    file = next(checkpoint.glob("*/zero_pp_rank_0_*optim_states.pt"))
    content = torch.load(file, weights_only=False)
    content["optimizer_state_dict"]["zero_stage"] = stage
    torch.save(content, file)


def test_shards_of_those_versions_are_read(copied: Path) -> None:
    before = {name: tensor.read_as(torch.float32) for name, tensor in read(copied).items()}
    rewrite(copied, Fetched(ZeroStageEnum, "weights"))
    for name, tensor in read(copied).items():
        assert torch.equal(tensor.read_as(torch.float32), before[name])


def read(checkpoint: Path) -> dict[str, Any]:
    return read_zero_shards(checkpoint)


def test_shards_that_fetch_anything_else_are_refused(copied: Path) -> None:
    rewrite(copied, Fetched(os.PathLike, "mro"))
    with pytest.raises(ConfigError, match=r"names .*builtins\.getattr"):
        read(copied)
