"""The DeepSpeed configuration: loaded with located faults, merged in memory, checked."""

import copy
from pathlib import Path
from typing import Any

import pytest

from det_files.deepspeed_config import (
    BatchSizes,
    check_autotuning,
    check_deepspeed_config,
    complete,
    load_deepspeed_config,
    merge,
    nvme_needs,
    nvme_paths,
    offload_device,
    overwritten_batch,
    zero_stage,
)
from det_files.faults import ConfigError, Faults

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "ds_configs").glob("*.json"))
P = "hyperparameters.deepspeed_config"
STAGE_2 = {"zero_optimization": {"stage": 2}}
BATCH = BatchSizes(micro_batch=2, accumulation=4, slots=3)


def faults_of(config: dict[str, Any], dtype: str = "bfloat16", clip: float = 1.0) -> list[str]:
    faults = Faults()
    check_deepspeed_config(complete(config), BATCH, dtype, clip, faults)
    return [str(fault).removeprefix(f"{P}.") for fault in faults.found]


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


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_our_own_files_fit_every_precision_and_batch(path: Path, dtype: str) -> None:
    assert faults_of(load_deepspeed_config(path), dtype, clip=0.3) == []


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


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("section", ["fp16", "bf16", "bfloat16"])
@pytest.mark.parametrize("enabled", [True, False, "auto"])
def test_precision_has_a_single_source(dtype: str, section: str, enabled: Any) -> None:
    wanted = dtype == {"fp16": "float16"}.get(section, "bfloat16")
    found = faults_of(STAGE_2 | {section: {"enabled": enabled}}, dtype)
    if enabled in ("auto", wanted):
        assert found == []
    else:
        assert found == [
            f"{section}.enabled: {str(enabled).lower()} disagrees with model_arguments.dtype "
            f'{dtype}, the single source of precision; write "auto"'
        ]


@pytest.mark.parametrize(
    ("key", "right", "wrong", "reason"),
    [
        ("train_micro_batch_size_per_gpu", 2, 1, "per_device_train_batch_size 2"),
        ("gradient_accumulation_steps", 4, 1, "gradient_accumulation_steps 4"),
        ("train_batch_size", 24, 8, "x slots = 2 x 4 x 3 = 24"),
        ("gradient_clipping", 1.0, 0.5, "training_arguments.max_grad_norm 1.0"),
    ],
)
def test_what_disagrees_with_the_arguments(key: str, right: Any, wrong: Any, reason: str) -> None:
    assert faults_of(STAGE_2 | {key: right}) == faults_of(STAGE_2 | {key: "auto"}) == []
    (fault,) = faults_of(STAGE_2 | {key: wrong})
    assert fault.startswith(f"{key}: {wrong} disagrees with ")
    assert fault.endswith(f'{reason}; write "auto"')


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
    ("section", "steps", "refused"),
    [
        ({"enabled": True}, 5, True),
        ({"enabled": True}, 6, False),
        ({"enabled": True, "end_profile_step": 9}, 9, True),
        ({"enabled": True, "end_profile_step": 9}, -1, False),  # some number of epochs
        ({"enabled": False, "end_profile_step": 9}, 1, False),
        ({"enabled": True, "model_info": {"profile": True}}, 1, False),
        ("x", 1, False),
        (None, 1, False),
    ],
)
def test_training_reaches_what_is_to_be_measured(section: Any, steps: int, refused: bool) -> None:
    faults = Faults()
    check_autotuning({"autotuning": section}, {"max_steps": steps}, faults)
    found = [str(fault) for fault in faults.found]
    reason = f"DeepSpeed measures in step {steps + 1}, and training_arguments.max_steps is {steps}"
    assert found == ([f"{P}.autotuning.end_profile_step: {reason}"] if refused else [])


NVME = {"device": "nvme", "nvme_path": "/nvme"}


@pytest.mark.parametrize(
    ("zero", "fault"),
    [
        ({"stage": 4}, "stage: expected 0, 1, 2 or 3, got 4"),
        ({"stage": True}, "stage: expected 0, 1, 2 or 3, got true"),
        ({}, "stage: expected 0, 1, 2 or 3, got null"),
        ({"stage": 2, "overlap_com": 1}, 'overlap_com: unknown key; did you mean "overlap_comm"?'),
        ({"stage": 2, "offload_param": {"device": "cpu"}}, "offload_param: needs stage 3, got "
         "stage 2"),
        ({"stage": 3, "offload_param": "cpu"}, "offload_param: expected a mapping with a device, "
         'got "cpu"'),
        ({"stage": 3, "offload_optimizer": {"device": "gpu"}}, "offload_optimizer.device: expected "
         'none, cpu or nvme, got "gpu"'),
        ({"stage": 3, "offload_param": {"device": "nvme"}}, "offload_param.nvme_path: missing: the "
         "directory of a local NVMe drive"),
        ({"stage": 2, "offload_optimizer": NVME}, "offload_optimizer.device: nvme needs stage 3, "
         "got stage 2"),
    ],
)  # fmt: skip
def test_faults_of_zero(zero: dict[str, Any], fault: str) -> None:
    assert faults_of({"zero_optimization": zero}) == [f"zero_optimization.{fault}"]


def test_other_faults_are_all_found() -> None:
    assert faults_of({"zero_optimizaton": {}, "fp16": True, "zero_optimization": 3}) == [
        'zero_optimizaton: unknown key; did you mean "zero_optimization"?',
        "zero_optimization: missing: expected a mapping with a stage",
        "fp16: expected a mapping, got true",
    ]


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
