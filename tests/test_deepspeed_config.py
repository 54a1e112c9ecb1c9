"""The DeepSpeed configuration: loaded with located faults, merged in memory, checked."""

import copy
from pathlib import Path
from typing import Any

import pytest

from det_files.deepspeed_config import (
    complete,
    load_deepspeed_config,
    merge,
    nvme_needs,
    nvme_paths,
    offload_device,
    overwritten_batch,
    zero_stage,
)
from det_files.faults import ConfigError

ROOT = Path(__file__).resolve().parent.parent
P = "hyperparameters.deepspeed_config"
STAGE_2 = {"zero_optimization": {"stage": 2}}


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_deepspeed_config(path, path.name)
    return str(caught.value)


def test_the_predecessors_broken_file_is_refused_with_line_and_column(shared: Path) -> None:
    text = refused(shared / "legacy" / "ds_config_stage_3.json")
    # `}s` closes "params" in line 17: the s stands in column 6.
    assert text == (
        f"ConfigError: {P}: ds_config_stage_3.json, line 17, column 6: Expecting ',' delimiter"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1]", "c.json: expected a mapping, got [1]"),
        (b"", "c.json, line 1, column 1: Expecting value"),
        (b'{"a": {"b": 1, "b": 2}}', "c.json: found twice: b"),
        (b"\xff{}", "c.json is not UTF-8 text: invalid start byte"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "c.json").write_bytes(content)
    assert refused(tmp_path / "c.json") == f"ConfigError: {P}: {reason}"


def test_a_missing_file_is_refused_with_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert refused(tmp_path / "b.json").endswith(
        "b.json: No such file or directory; JSON files beside it: a.json"
    )


def test_merge_is_deep_and_changes_neither() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    over = {"a": {"c": {"f": 3}, "b": {"g": 4}}, "e": [2]}
    kept = copy.deepcopy((base, over))
    merged = merge(base, over)
    assert merged == {"a": {"b": {"g": 4}, "c": {"d": 2, "f": 3}}, "e": [2]}
    merged["a"]["c"]["f"] = merged["e"][0] = 0
    assert (base, over) == kept


def test_complete_fills_what_is_absent_and_keeps_what_is_there() -> None:
    given = {"fp16": {"loss_scale": 0}, "gradient_clipping": 0.5, "zero_optimization": {"stage": 1}}
    kept = copy.deepcopy(given)
    done = complete(given)
    assert done["fp16"] == {"enabled": "auto", "loss_scale": 0}
    assert (done["bf16"], done["gradient_clipping"]) == ({"enabled": "auto"}, 0.5)
    assert done["train_batch_size"] == done["train_micro_batch_size_per_gpu"] == "auto"
    assert given == kept


@pytest.mark.parametrize(
    ("overwrite", "arguments"),
    [
        ({}, {}),
        ({"train_batch_size": 8}, {}),
        ({"train_micro_batch_size_per_gpu": 3}, {"per_device_train_batch_size": 3}),
        ({"gradient_accumulation_steps": 1}, {"gradient_accumulation_steps": 1}),
        # What stands for a number of the training arguments, or is checked as no number.
        ({"train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": True}, {}),
        ({"train_micro_batch_size_per_gpu": 0, "gradient_accumulation_steps": 1.5}, {}),
    ],
)
def test_batch_sizes_that_win_over_training_arguments(
    overwrite: dict[str, Any], arguments: dict[str, int]
) -> None:
    assert overwritten_batch(overwrite) == arguments


@pytest.mark.parametrize(
    ("config", "stage"),
    [(None, 0), ({}, 0), ({"zero_optimization": 3}, 0), (STAGE_2, 2)],
)
def test_zero_stage(config: dict[str, Any] | None, stage: int) -> None:
    assert zero_stage(config) == stage


def test_what_nvme_offload_needs() -> None:
    config = load_deepspeed_config(ROOT / "ds_configs" / "ds_config_stage_3_nvme.json")
    assert offload_device(config, "param") == "nvme"
    assert nvme_paths(config) == ["/local_nvme"]
    assert "/local_nvme" in nvme_needs(config) and "libaio" in nvme_needs(config)
    assert (offload_device(STAGE_2, "param"), nvme_needs(STAGE_2)) == ("none", "")
