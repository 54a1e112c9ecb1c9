"""The command: a table, JSON, faults all at once, exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from det_files.deepspeed_config import merge
from det_files.experiment import to_yaml
from det_files.faults import ConfigError
from det_files.memory.__main__ import main
from det_files.memory.table import parse_bytes, show_bytes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def experiment(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment on a model of which the configuration alone is there."""
    monkeypatch.chdir(ROOT)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    return write(tmp_path, model)


def write(directory: Path, model: Path, changes: dict[str, Any] | None = None) -> Path:
    content = {
        "name": "tiny",
        "resources": {"slots_per_trial": 2},
        "searcher": {"name": "single", "metric": "eval_loss"},
        "entrypoint": "python -m determined.launch.deepspeed python -m det_files.run_clm",
        "hyperparameters": {
            "deepspeed_config": "ds_configs/ds_config_stage_2.json",
            "model_arguments": {"model_name_or_path": str(model)},
            "data_arguments": {"sources": [{"path": "data/quickstart"}]},
            "tuning_arguments": {"method": "lora"},
            "training_arguments": {"max_steps": 10, "save_steps": 5, "eval_steps": 5},
        },
    }
    path = directory / "experiment.yaml"
    path.write_text(to_yaml(merge(content, changes or {})))
    return path


def test_the_table_names_every_part(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(experiment), "--gpu-memory", "16GiB", "--slots", "4"]) == 0
    out = capsys.readouterr().out
    assert "4 slots, micro-batch 1, rows of up to 256 tokens" in out
    for words in ("weights", "optimizer", "buffers", "a checkpoint:", "the 2 of the run"):
        assert words in out
    assert "fits into 16.0 GiB" in out
    assert "with activation checkpointing: largest micro-batch" in out


def test_json_is_the_same_in_bytes(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(experiment), "--json", "--gpu-memory", "1GB"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["slots"] == 2
    assert found["device_bytes"] == sum(found["device"].values())
    assert found["trained"] < found["parameters"]
    # Two buckets of 2e8 elements alone are 0.8 GB, and a GPU's margin is more than 1 GB.
    assert not found["fitting"]["fits"]


def test_every_fault_of_the_file_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    changes = {"hyperparameters": {"tuning_arguments": {"r": 0, "methd": "lora"}}, "sercher": {}}
    with pytest.raises(ConfigError) as caught:
        main([str(write(tmp_path, tmp_path, changes))])
    assert len(caught.value.faults) == 3
    with pytest.raises(ConfigError) as caught:
        main([str(write(tmp_path, tmp_path, changes)), "--gpu-memory", "big"])
    assert len(caught.value.faults) == 4


def test_values_are_overridden_as_in_a_local_run(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    override = "hyperparameters.data_arguments.max_input_tokens=32"
    shorter = "hyperparameters.data_arguments.max_output_tokens=16"
    assert main([str(experiment), "--set", override, "--set", shorter, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["row_tokens"] == 48


def test_the_command_ends_with_2_where_there_is_no_configuration(tmp_path: Path) -> None:
    path = write(tmp_path, tmp_path / "absent")
    done = subprocess.run(
        [sys.executable, "-m", "det_files.memory", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "model_arguments.model_name_or_path" in done.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [("80GiB", 80 * 2**30), ("40 GB", 40 * 10**9), ("1.5gib", 3 * 2**29), ("1MiB", 2**20)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_bytes(text, "--gpu-memory") == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GB", "0GB", "80 gigs", "1000KB"])
def test_other_sizes_are_faults(text: str) -> None:
    with pytest.raises(ConfigError, match="--gpu-memory"):
        parse_bytes(text, "--gpu-memory")


@pytest.mark.parametrize("text", ["40", "80e9", "85899345920"])
def test_a_number_alone_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a size such as 80GiB or 40GB, got"):
        parse_bytes(text, "--gpu-memory")


def test_the_unit_that_is_missing_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"--gpu-memory: .* write its unit, 40GiB or 40GB"):
        parse_bytes("40", "--gpu-memory")


def test_the_draw_of_a_search_is_told(
    tmp_path: Path, experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "searcher": {"name": "random", "max_trials": 4},
        "hyperparameters": {
            "tuning_arguments": {"r": {"type": "categorical", "vals": [4]}},
            "training_arguments": {"warmup_steps": {"type": "int", "minval": 1, "maxval": 3}},
        },
    }
    path = write(tmp_path, tmp_path / "model", changes)
    assert main([str(path), "--json"]) == 0
    draw = json.loads(capsys.readouterr().out)["draw"]
    assert list(draw) == ["tuning_arguments.r", "training_arguments.warmup_steps"]
    assert draw["tuning_arguments.r"] == 4
    assert main([str(path)]) == 0
    warmup = draw["training_arguments.warmup_steps"]
    words = f"tuning_arguments.r 4, training_arguments.warmup_steps {warmup} (others: --set)"
    assert f"of the search one draw is counted: {words}" in capsys.readouterr().out


def test_without_a_search_no_draw_is_spoken_of(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(experiment)]) == 0
    assert "of the search" not in capsys.readouterr().out


def test_bytes_are_shown_in_their_largest_unit() -> None:
    assert [show_bytes(n) for n in (12, 2048, 3 * 2**29)] == ["12 B", "2.0 KiB", "1.5 GiB"]
