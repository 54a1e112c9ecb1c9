"""Entrypoints: launcher, module and flags; flags as the nested hyperparameters that they mean."""

from typing import Any

import pytest

from det_files.entrypoint import (
    MODULES,
    Entrypoint,
    flags_to_hyperparameters,
    parse_entrypoint,
    split_flags,
)
from det_files.faults import Faults

MODULE = "det_files.run_clm"
DEEPSPEED = "determined.launch.deepspeed"
TORCH = "determined.launch.torch_distributed"


def parsed(value: Any) -> tuple[Entrypoint, list[str], list[str]]:
    faults, warnings = Faults(), list[str]()
    found = parse_entrypoint(value, faults, warnings)
    return found, [str(fault) for fault in faults.found], warnings


@pytest.mark.parametrize(
    ("value", "launcher", "flags"),
    [
        (f"python -m {MODULE}", None, []),
        (f"python3 -m {DEEPSPEED} python3 -m {MODULE} --seed 1", DEEPSPEED, ["--seed", "1"]),
        (f"/usr/bin/python -m {DEEPSPEED} {MODULE}", DEEPSPEED, []),
        (f"python -m {TORCH} --max_restarts 1 -- python -m {MODULE} --a", TORCH, ["--a"]),
        (["python", "-m", MODULE, "--max_steps", 5], None, ["--max_steps", "5"]),
        (f"python -m {MODULE} --input_format 'a  b'", None, ["--input_format", "a  b"]),
    ],
)
def test_entrypoints(value: Any, launcher: str | None, flags: list[str]) -> None:
    assert parsed(value) == (Entrypoint(MODULE, launcher, flags), [], [])
    assert parsed(parsed(value)[0].words()) == parsed(value)


@pytest.mark.parametrize("script", ["run_clm.py", "./det_files/run_clm.py"])
def test_a_script_is_accepted_with_a_warning(script: str) -> None:
    found, faults, warnings = parsed(f"python -m {DEEPSPEED} python {script} --seed 1")
    assert (found, faults) == (Entrypoint(MODULE, DEEPSPEED, ["--seed", "1"]), [])
    assert warnings == [f"entrypoint: `python {script}` is now `python -m {MODULE}`"]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("python train.py", f"runs train.py, which is none of {', '.join(MODULES)}"),
        ("python -m foo", f"runs foo, which is none of {', '.join(MODULES)}"),
        ("python", f"names none of {', '.join(MODULES)}"),
        ("", f"names none of {', '.join(MODULES)}"),
        ([], f"names none of {', '.join(MODULES)}"),
        ("python -m 'x", "No closing quotation"),
        (5, "expected a string or a list of words, got 5"),
        ({"a": 1}, 'expected a string or a list of words, got {"a": 1}'),
    ],
)
def test_what_cannot_be_run(value: Any, fault: str) -> None:
    assert parsed(value)[1] == [f"entrypoint: {fault}"]


def nested(*words: str) -> tuple[dict[str, Any], list[str], list[str]]:
    faults, warnings = Faults(), list[str]()
    found = flags_to_hyperparameters(words, faults, warnings)
    return found, [str(fault) for fault in faults.found], warnings


def test_flags_may_be_written_in_every_usual_way() -> None:
    faults = Faults()
    words = ["--a", "1", "--b=2=3", "--c", "--d-e", "-1", "--a", "4"]
    assert split_flags(words, faults) == {"a": "4", "b": "2=3", "c": None, "d_e": "-1"}
    assert faults.found == []


def test_flags_become_typed_hyperparameters_of_their_section() -> None:
    words = "--learning_rate 1e-5 --max_steps 10 --do_train --fp16 false --eval-strategy no"
    words += " --dtype float16 --method lora --block_size 64 --deepspeed_config a.json"
    words += ' --lr_scheduler_kwargs {"a":1}'
    found, faults, warnings = nested(*words.split())
    assert found == {
        "training_arguments": {
            "learning_rate": 1e-5,
            "max_steps": 10,
            "do_train": True,
            "fp16": False,
            "eval_strategy": "no",
            "lr_scheduler_kwargs": {"a": 1},
        },
        "model_arguments": {"dtype": "float16"},
        "tuning_arguments": {"method": "lora"},
        "data_arguments": {"block_size": 64},
        "deepspeed_config": "a.json",
    }
    assert (faults, warnings) == ([], [])


def test_old_flags_warn_once_each() -> None:
    words = "--use_lora --torch_dtype float16 --dataset_name d --dataset_config_name c"
    found, faults, warnings = nested(*words.split(), "--overwrite_output_dir")
    assert found == {
        "tuning_arguments": {"method": "lora"},
        "model_arguments": {"dtype": "float16"},
        "data_arguments": {"sources": [{"dataset_name": "d", "dataset_config": "c"}]},
    }
    assert faults == []
    assert warnings == [
        "--use_lora is now tuning_arguments.method (use_lora true is lora)",
        "--torch_dtype is now model_arguments.dtype",
        "--dataset_name is now data_arguments.sources[0].dataset_name",
        "--dataset_config_name is now data_arguments.sources[0].dataset_config",
        "--overwrite_output_dir is ignored: a run never writes over another",
    ]


@pytest.mark.parametrize(
    ("words", "method"),
    [("--use_lora false", "full"), ("--use_lora True", "lora"), ("--use_lora perhaps", "perhaps")],
)
def test_use_lora(words: str, method: str) -> None:
    assert nested(*words.split())[0] == {"tuning_arguments": {"method": method}}


@pytest.mark.parametrize("order", [1, -1])
def test_todays_name_wins_in_any_order(order: int) -> None:
    pairs = [["--torch_dtype", "float16"], ["--dtype", "float32"]][::order]
    assert nested(*pairs[0], *pairs[1])[0] == {"model_arguments": {"dtype": "float32"}}


def test_faults_of_flags_are_all_found() -> None:
    assert nested("stray", "--lerning_rate", "1")[1] == [
        "entrypoint: expected a flag such as --max_steps, got 'stray'",
        'entrypoint.--lerning_rate: unknown key; did you mean "--learning_rate"?',
    ]
