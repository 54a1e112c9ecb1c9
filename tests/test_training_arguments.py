"""TrainingArguments: defaults derived from what is given, one source of precision, checks."""

import copy
from pathlib import Path
from typing import Any

import pytest

from det_files.faults import ConfigError, Faults
from det_files.training_arguments import (
    DEFAULTS,
    check_training_arguments,
    make_training_arguments,
    read_training_arguments,
    why_not_writable,
    with_defaults,
)

P = "hyperparameters.training_arguments"


def resolved(given: dict[str, Any], dtype: str = "float32") -> dict[str, Any]:
    faults = Faults()
    values = with_defaults(given, dtype, faults)
    assert faults.found == []
    return values


def faults_of(given: dict[str, Any], dtype: str = "float32") -> list[str]:
    faults = Faults()
    check_training_arguments(with_defaults(given, dtype, faults), faults)
    return [str(fault).removeprefix(f"{P}.") for fault in faults.found]


@pytest.mark.parametrize(
    ("given", "evaluation", "save"),
    [
        ({}, ("epoch", None), ("epoch", None)),
        ({"eval_steps": 10}, ("steps", 10), ("steps", 10)),
        ({"save_steps": 20}, ("epoch", None), ("steps", 20)),
        ({"eval_steps": 10, "save_steps": 20}, ("steps", 10), ("steps", 20)),
        ({"eval_strategy": "steps"}, ("steps", 500), ("steps", 500)),
        ({"eval_strategy": "steps", "save_steps": 20}, ("steps", 20), ("steps", 20)),
        ({"eval_strategy": "steps", "eval_steps": None}, ("steps", 500), ("steps", 500)),
        ({"eval_steps": None}, ("epoch", None), ("epoch", None)),
        ({"eval_strategy": "no"}, ("no", None), ("epoch", None)),
        ({"eval_strategy": "no", "save_steps": 20}, ("no", None), ("steps", 20)),
        ({"save_strategy": "steps", "eval_steps": 10}, ("steps", 10), ("steps", 10)),
        ({"save_strategy": "no", "eval_steps": 10}, ("steps", 10), ("no", None)),
    ],
)
def test_strategies_follow_from_what_is_given(
    given: dict[str, Any], evaluation: tuple[str, Any], save: tuple[str, Any]
) -> None:
    values = resolved(given)
    assert (values["eval_strategy"], values.get("eval_steps")) == evaluation
    assert (values["save_strategy"], values.get("save_steps")) == save


def test_defaults_give_way_and_nothing_given_is_changed() -> None:
    given = {"logging_steps": 5, "per_device_train_batch_size": 4, "eval_steps": 10}
    kept, defaults = copy.deepcopy(given), copy.deepcopy(DEFAULTS)
    values = resolved(given)
    assert values.items() >= given.items()
    assert values["per_device_eval_batch_size"] == 4
    assert values["max_grad_norm"] == DEFAULTS["max_grad_norm"]
    assert (given, DEFAULTS) == (kept, defaults)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("key", ["bf16", "fp16"])
@pytest.mark.parametrize("said", [True, False, None])
def test_precision_has_a_single_source(dtype: str, key: str, said: bool | None) -> None:
    wanted = {"bf16": dtype == "bfloat16", "fp16": dtype == "float16"}
    found = faults_of({} if said is None else {key: said}, dtype)
    if said in (None, wanted[key]):
        assert found == []
        values = resolved({}, dtype)
        assert {"bf16": values["bf16"], "fp16": values["fp16"]} == wanted
    else:
        assert found == [
            f"{key}: {str(said).lower()} disagrees with model_arguments.dtype {dtype}, the single "
            "source of precision; leave it out"
        ]


@pytest.mark.parametrize("dtype", ["float8", None, ["float16"]])
def test_a_dtype_that_is_none_is_not_judged_twice(dtype: Any) -> None:
    assert faults_of({"bf16": True}, dtype) == []


BEST = {"load_best_model_at_end": True}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"max_steps": 0}, "max_steps: expected > 0"),
        ({"fsdp": "full_shard"}, "fsdp: not supported here"),
        ({"hub_token": "hf_secret"}, "hub_token: a secret does not belong in an experiment"),
        (BEST | {"eval_steps": 10, "save_strategy": "epoch"}, "load_best_model_at_end: needs equal "
         "strategies, got eval_strategy steps and save_strategy epoch"),
        (BEST | {"eval_steps": 10, "save_steps": 25}, "save_steps: load_best_model_at_end needs a "
         "multiple of eval_steps 10, got 25"),
        (BEST | {"eval_steps": 0.1, "save_steps": 20}, "save_steps: load_best"),
        ({"save_strategy": "best"}, "metric_for_best_model: missing"),
    ],
)  # fmt: skip
def test_what_would_be_refused_later(given: dict[str, Any], fault: str) -> None:
    (found,) = faults_of(given)
    assert found.startswith(fault) and "hf_secret" not in found


@pytest.mark.parametrize(
    "given",
    [
        BEST,
        BEST | {"eval_steps": 10, "save_steps": 20},
        BEST | {"eval_steps": 0.1, "save_steps": 0.3},
        BEST | {"save_strategy": "best"},
        {"save_strategy": "best", "metric_for_best_model": "eval_loss"},
        {"max_steps": -1},
    ],
)
def test_what_transformers_takes_too(given: dict[str, Any], tmp_path: Path) -> None:
    assert faults_of(given) == []
    made = make_training_arguments(resolved(given), None, tmp_path, on_cpu=True)
    assert made.save_strategy == resolved(given)["save_strategy"]


@pytest.mark.parametrize(
    "given", [BEST | {"eval_steps": "x", "save_steps": [1]}, BEST | {"eval_steps": 0}]
)
def test_wrong_types_are_left_to_where_they_are_read(given: dict[str, Any]) -> None:
    assert faults_of(given) == []


def test_reading_is_strict() -> None:
    faults = Faults()
    read = read_training_arguments(P, {"max_stepz": 1, "eval_strategy": False, "seed": 3.0}, faults)
    assert read == {"eval_strategy": "no", "seed": 3}
    (fault,) = [str(fault) for fault in faults.found]
    assert fault == f'{P}.max_stepz: unknown key; did you mean "max_steps"?'


def test_making_them_on_the_cpu(tmp_path: Path) -> None:
    values = resolved({"max_steps": 3, "output_dir": "/elsewhere"}, "bfloat16")
    made = make_training_arguments(values, None, tmp_path, on_cpu=True)
    assert (made.output_dir, made.max_steps, made.use_cpu) == (str(tmp_path), 3, True)
    assert (made.bf16, made.fp16, made.report_to) == (True, False, [])


def test_what_transformers_refuses_is_a_config_error(tmp_path: Path) -> None:
    values = resolved({"lr_scheduler_kwargs": "{not json"})
    with pytest.raises(ConfigError, match=rf"ConfigError: {P}: "):
        make_training_arguments(values, None, tmp_path, on_cpu=True)


def test_where_files_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert why_not_writable(tmp_path / "a" / "b") == ""
    assert why_not_writable(tmp_path / "file" / "a") == f"{tmp_path / 'file'} is no directory"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize(
    "given",
    [
        {"label_smoothing_factor": 0.1},
        {"batch_eval_metrics": True},
        {"average_tokens_across_devices": False},
        {"save_only_model": True},
        {"ignore_data_skip": True},
        {"fsdp": "full_shard"},
    ],
)
def test_what_would_break_a_promise_is_refused(given: dict[str, Any]) -> None:
    (fault,) = faults_of(given)
    assert fault.startswith(f"{next(iter(given))}: ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"use_liger_kernel": True}, "use_liger_kernel: True runs on GPUs only (liger-kernel)"),
    ],
)
def test_what_needs_a_gpu_is_refused_on_a_cpu(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"training_arguments") as raised:
        make_training_arguments(resolved(given), None, tmp_path, on_cpu=True)
    assert message in str(raised.value)


def test_a_missing_package_is_named_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for optim, package in (
        ("adamw_torch_8bit", r"torchao==0\.18\.0"),
        ("adamw_bnb_8bit", r"bitsandbytes==0\.50\.2"),
        ("paged_adamw_8bit", r"bitsandbytes==0\.50\.2"),
    ):
        with pytest.raises(ConfigError, match=rf"optim: .* missing: pip install {package}"):
            make_training_arguments(resolved({"optim": optim}), None, tmp_path, True)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"learning_rate": -1e-5}, "learning_rate: expected >= 0, got -1e-05"),
        ({"adam_beta1": 1.0}, "adam_beta1: expected >= 0 and < 1, got 1.0"),
        ({"adam_beta2": 99}, "adam_beta2: expected >= 0 and < 1, got 99"),
        ({"adam_epsilon": -1e-8}, "adam_epsilon: expected >= 0, got -1e-08"),
        ({"weight_decay": -0.1}, "weight_decay: expected >= 0, got -0.1"),
        ({"warmup_steps": -1}, "warmup_steps: expected >= 0, got -1"),
    ],
)
def test_what_optimizers_would_refuse_once_training_begins(
    given: dict[str, Any], fault: str
) -> None:
    assert faults_of(given) == [fault]
