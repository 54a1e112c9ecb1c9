"""`--check` finds an export that is not the checkpoint's model, and then nothing is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from export_checkpoints import Adapters, export
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from det_files.export.__main__ import main
from det_files.export.check import Difference, compare_logits
from det_files.trained.checkpoint import open_checkpoint

SMALL = Difference(1e-4, 2.0, 1e-3, 4, True)


def test_the_tolerance_is_a_share_of_the_largest_logit() -> None:
    assert SMALL.is_small
    assert not dataclasses.replace(SMALL, greatest=3e-3).is_small
    assert dataclasses.replace(SMALL, greatest=3e-3, largest_logit=4.0).is_small


def test_nan_and_other_tokens_are_never_small() -> None:
    assert not dataclasses.replace(SMALL, greatest=float("nan")).is_small
    assert not dataclasses.replace(SMALL, same_tokens=False).is_small
    assert "do not cut texts alike" in str(dataclasses.replace(SMALL, same_tokens=False))


def change(directory: Path, scale: float) -> None:
    """Scales one weight of an exported model."""
    tensors = load_file(directory / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"] *= scale
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(("scale", "small"), [(1.0, True), (1.5, False), (float("nan"), False)])
def test_one_changed_weight_is_found(
    adapters: Adapters, tmp_path: Path, scale: float, small: bool
) -> None:
    output = export(adapters("lora"), "merged", tmp_path / "out")
    change(output, scale)
    checkpoint = open_checkpoint(adapters("lora"))
    assert compare_logits(checkpoint, output, "merged", "float32").is_small is small


def test_another_tokenizer_is_found(adapters: Adapters, tmp_path: Path) -> None:
    output = export(adapters("lora"), "merged", tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(output)
    tokenizer.add_tokens(["capital"])
    tokenizer.save_pretrained(output)
    checkpoint = open_checkpoint(adapters("lora"))
    assert not compare_logits(checkpoint, output, "merged", "float32").same_tokens


def test_a_failed_check_ends_with_1_and_writes_nothing(
    adapters: Adapters,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Merging that loses a part of the adapter, as a bug in a library would."""
    from peft.tuners.lora.layer import Linear

    delta = Linear.get_delta_weight

    def half(self: Linear, adapter: str) -> torch.Tensor:
        return delta(self, adapter) / 2

    monkeypatch.setattr(Linear, "get_delta_weight", half)
    words = [str(adapters("lora")), "--to", "merged", "--output", str(tmp_path / "out"), "--check"]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 1
    assert "tolerance 0.0001: nothing was written" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
