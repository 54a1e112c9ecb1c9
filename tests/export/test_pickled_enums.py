"""Only members of known enumerations may be fetched by a pickle's getattr."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.config import ZeroStageEnum

from det_files.export.pickled_enums import gets_members_alone


class Fetched:
    """What getattr(owner, name) gives, as Python 3.11.0 to 3.11.3 pickled members."""

    def __init__(self, owner: Any, *names: str) -> None:
        self._given = (owner, *names)

    def __reduce__(self) -> Any:
        return getattr, self._given


class Called:
    """What a function that was fetched by getattr returns."""

    def __init__(self, function: Any, *given: Any) -> None:
        self._function, self._given = function, given

    def __reduce__(self) -> Any:
        return self._function, self._given


def saved(directory: Path, value: Any) -> Path:
    file = directory / "shard.pt"
    torch.save(value, file)
    return file


def shard(stage: Any) -> dict[str, Any]:
    parts = OrderedDict(weight=torch.nn.Parameter(torch.ones(3)))
    return {"zero_stage": stage, "again": stage, "groups": [torch.ones(4)], "shapes": [parts, {1}]}


def test_a_member_is_fetched(tmp_path: Path) -> None:
    file = saved(tmp_path, shard(Fetched(ZeroStageEnum, "weights")))
    assert gets_members_alone(file, [ZeroStageEnum])
    assert torch.load(file, weights_only=False)["zero_stage"] is ZeroStageEnum.weights
    assert not gets_members_alone(file, [])


@pytest.mark.parametrize(
    "stage",
    [
        Fetched(str, "format"),
        Fetched(ZeroStageEnum, "__init__"),
        Fetched(ZeroStageEnum, "mro"),
        Fetched(ZeroStageEnum, "weights", "default"),
        Fetched(Fetched(ZeroStageEnum, "weights"), "__class__"),
        [Fetched(ZeroStageEnum, "weights"), Fetched(dict, "get")],  # one that is fine before it
    ],
)
def test_anything_else_is_refused(tmp_path: Path, stage: Any) -> None:
    assert not gets_members_alone(saved(tmp_path, shard(stage)), [ZeroStageEnum])


def test_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    file = saved(tmp_path, shard([Called(os.mkdir, str(mark)), Fetched(str, "format")]))
    assert not gets_members_alone(file, [ZeroStageEnum])
    assert not mark.exists()


def test_other_files_are_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "shard.pt"
    file.write_bytes(b"no archive")
    with pytest.raises(ValueError):
        gets_members_alone(file, [ZeroStageEnum])
