"""Which files are the weights, that all are there, and what may not be written from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from export_checkpoints import Adapters, as_checkpoint, contents, export
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from det_files.faults import ConfigError
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.weights import weight_files


@pytest.fixture
def sharded(tiny_model: Path, tmp_path: Path) -> Path:
    """A full fine-tune's checkpoint in several files, without a manifest."""
    checkpoint = Path(shutil.copytree(tiny_model, tmp_path / "checkpoint"))
    (checkpoint / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model.save_pretrained(checkpoint, max_shard_size="60KB")
    return as_checkpoint(checkpoint)


def test_files_that_no_index_names_are_not_read(
    sharded: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Of an earlier save in other pieces, say: its tensors have the same names."""
    named = weight_files(sharded)
    assert len(named) > 1
    stale = {"lm_head.weight": torch.zeros(384, 32)}
    save_file(stale, sharded / "model-00009-of-00009.safetensors", metadata={"format": "pt"})
    assert weight_files(sharded) == named
    written = load_file(export(sharded, "hf", tmp_path / "out", "--check") / "model.safetensors")
    expected = load_file(tiny_model / "model.safetensors")
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())


def test_a_file_of_the_index_that_is_gone_is_named(sharded: Path) -> None:
    gone = weight_files(sharded)[1]
    gone.unlink()
    with pytest.raises(ConfigError, match=f"{gone.name}: missing"):
        open_checkpoint(sharded)
    (sharded / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with pytest.raises(ConfigError, match=r"index\.json: is no index of weights"):
        open_checkpoint(sharded)


def one_value(sharded: Path, value: float) -> None:
    file = weight_files(sharded)[-1]
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[3] = value
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (float("nan"), "float32", r": holds NaN: the training had diverged"),
        (70_000.0, "float16", r"--dtype float16: .*beyond float16's range \(65,504\)"),
    ],
)
def test_what_nothing_computes_with_is_not_written(
    sharded: Path, tmp_path: Path, value: float, dtype: str, said: str
) -> None:
    one_value(sharded, value)
    with pytest.raises(ConfigError, match=said):
        export(sharded, "hf", tmp_path / "out", "--dtype", dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_values_beyond_float16_are_written_in_bfloat16(sharded: Path, tmp_path: Path) -> None:
    one_value(sharded, 70_000.0)
    export(sharded, "hf", tmp_path / "out", "--dtype", "bfloat16")


@pytest.mark.parametrize(
    "scale", [lambda t: t.fill_(6e4), lambda t: t.mul_(0)], ids=["overflows", "fits"]
)
def test_merging_beyond_float16_is_refused(
    adapters: Adapters, tmp_path: Path, scale: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    checkpoint = Path(shutil.copytree(adapters("lora"), tmp_path / "checkpoint"))
    (checkpoint / "manifest.json").unlink()
    tensors = load_file(checkpoint / "adapter_model.safetensors")
    for tensor in tensors.values():
        scale(tensor)
    save_file(tensors, checkpoint / "adapter_model.safetensors", metadata={"format": "pt"})
    words = (checkpoint, "merged", tmp_path / "out", "--dtype", "float16")
    if tensor.any():
        with pytest.raises(ConfigError, match="beyond float16's range"):
            export(*words)
    else:
        export(*words)


def test_a_models_own_code_goes_with_it_and_deepspeeds_does_not(
    tiny_model: Path, tmp_path: Path
) -> None:
    checkpoint = as_checkpoint(Path(shutil.copytree(tiny_model, tmp_path / "checkpoint")))
    for name in ("modeling_mine.py", "zero_to_fp32.py", "zero_to_torch.py"):
        (checkpoint / name).write_text("pass\n")
    names = contents(export(checkpoint, "hf", tmp_path / "out"))
    assert [name for name in names if name.endswith(".py")] == ["modeling_mine.py"]


def test_kernels_of_training_need_not_be_here(adapters: Adapters, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(adapters("lora"), tmp_path / "checkpoint"))
    (checkpoint / "manifest.json").unlink()
    file = checkpoint / "run_args.yaml"
    text = file.read_text()
    assert "attn_implementation: null" in text
    file.write_text(text.replace("attn_implementation: null", "attn_implementation: absent_2"))
    config = export(checkpoint, "merged", tmp_path / "out", "--check") / "config.json"
    assert "absent_2" not in json.dumps(json.loads(config.read_text()))
