"""What a checkpoint says of itself, and why it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from export_checkpoints import Adapters

from det_files.faults import ConfigError
from det_files.trained.checkpoint import open_checkpoint


@pytest.fixture
def lora(adapters: Adapters, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapters("lora"), tmp_path / "checkpoint"))


def test_a_checkpoint_says_how_it_was_trained(lora: Path, tiny_model: Path) -> None:
    checkpoint = open_checkpoint(lora)
    assert (checkpoint.method, checkpoint.is_adapter) == ("lora", True)
    assert checkpoint.model.source == str(tiny_model)
    assert checkpoint.state["global_step"] == checkpoint.metadata["steps_completed"] == 5


def test_a_run_stands_for_its_best_checkpoint(adapters: Adapters, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "tiny" / "1"
    directory = run / "trials" / "2" / "checkpoints"
    for uuid in ("first", "second"):
        shutil.copytree(adapters("lora"), directory / uuid)
    trials = [{"trial": 1}, {"trial": 2, "best_checkpoint": "first"}]
    (run / "summary.json").write_text(json.dumps({"best_trial": 2, "trials": trials}))
    assert open_checkpoint(run).path == directory / "first"


def test_a_relative_model_is_looked_for_where_the_run_was_started(
    adapters: Adapters, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "tiny" / "1"
    checkpoint = run / "trials" / "1" / "checkpoints" / "uuid"
    shutil.copytree(adapters("lora"), checkpoint)
    (checkpoint / "manifest.json").unlink()
    file = checkpoint / "run_args.yaml"
    relative = f"{tiny_model.parent.name}/{tiny_model.name}"
    file.write_text(file.read_text().replace(str(tiny_model), relative))
    started = str(tiny_model.parent.parent)
    (run / "summary.json").write_text(json.dumps({"directory": started}))
    monkeypatch.chdir(tmp_path)
    assert open_checkpoint(checkpoint).model.source == str(tiny_model)


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        open_checkpoint(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"no checkpoint of a trial and no run"):
        open_checkpoint(tmp_path)


def test_damage_is_named_by_file(lora: Path) -> None:
    weights = lora / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (lora / "tokenizer.json").unlink()
    # What training alone goes on from is not read here.
    (lora / "rng_state.pth").write_bytes(b"")
    (lora / "optimizer.pt").unlink()
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(lora)
    assert [fault.message for fault in caught.value.faults] == [
        f"{weights}: its digest is not the manifest's",
        f"{lora}/tokenizer.json: missing",
    ]


@pytest.mark.parametrize("manifest", ["[]", '{"files": {"adapter_model.safetensors": {}}}'])
def test_an_unreadable_manifest_is_one_sentence(lora: Path, manifest: str) -> None:
    (lora / "manifest.json").write_text(manifest)
    with pytest.raises(ConfigError, match=r"manifest\.json: no readable manifest"):
        open_checkpoint(lora)


def test_a_checkpoint_without_weights_is_refused(
    lora: Path, zero_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    (lora / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors: missing"):
        open_checkpoint(lora)
    scattered = Path(shutil.copytree(zero_checkpoints["scattered"], tmp_path / "scattered"))
    (scattered / "latest").unlink()
    with pytest.raises(ConfigError, match=r"neither model\.safetensors nor DeepSpeed's latest"):
        open_checkpoint(scattered)


def test_unreadable_run_args_are_one_fault(lora: Path) -> None:
    (lora / "run_args.yaml").write_text("model_arguments: [1")
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(lora)
    assert len(caught.value.faults) == 1
