"""`merged` and `adapter`: what was trained as an adapter, in the base model's weights or alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from export_checkpoints import Adapters, contents, export
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from det_files.export.merging import merge
from det_files.faults import ConfigError
from det_files.models import ModelArguments, load_model
from det_files.trained.checkpoint import open_checkpoint
from det_files.tuning.adapters import load_adapter
from tiny import make_model

IDS = torch.arange(4, 84)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(IDS).logits
    return found


def load(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)


def copied(checkpoint: Path, directory: Path) -> Path:
    """A copy without manifest, which a test may change."""
    copy = Path(shutil.copytree(checkpoint, directory / "copy"))
    (copy / "manifest.json").unlink()
    return copy


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_merged_gives_the_logits_of_base_and_adapter(
    adapters: Adapters, tiny_model: Path, tmp_path: Path, method: str
) -> None:
    checkpoint = adapters(method)
    output = export(checkpoint, "merged", tmp_path / "out", "--check")
    expected = logits(load_adapter(load(tiny_model), str(checkpoint)))
    assert (logits(load(output)) - expected).abs().max() < 1e-5
    # The adapter has learned something, which the base model alone does not know.
    assert (logits(load(tiny_model)) - expected).abs().max() > 1e-2
    assert not any("adapter" in name for name in contents(output))
    assert json.loads((output / "config.json").read_text())["use_cache"] is True


@pytest.mark.parametrize(
    ("architecture", "method"), [("llama", "lora"), ("llama", "ia3"), ("gpt2", "dora")]
)
def test_of_a_base_in_4_bits_the_weights_it_was_trained_on_are_merged(
    adapters: Adapters, tmp_path_factory: pytest.TempPathFactory, architecture: str, method: str
) -> None:
    directory = tmp_path_factory.mktemp("nf4")
    base = make_model(directory / "model", architecture)
    checkpoint = adapters(
        method,
        f"{architecture}_{method}_nf4",
        model_arguments__model_name_or_path=str(base),
        model_arguments__quantization="nf4",
        training_arguments__max_steps=8,
    )
    output = export(checkpoint, "merged", directory / "out", "--check")
    quantized, _ = load_model(ModelArguments(str(base), dtype="float32", quantization="nf4"))
    expected = logits(load_adapter(quantized, str(checkpoint)))
    assert (logits(load(output)) - expected).abs().max() < 1e-5
    assert (logits(load_adapter(load(base), str(checkpoint))) - expected).abs().max() > 1e-3
    assert "quantization" not in (output / "config.json").read_text()
    assert "| `quantization` | `nf4` |" in (output / "README.md").read_text()
    export(checkpoint, "adapter", directory / "adapter", "--check")


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_merging_into_bfloat16_rounds_once(adapters: Adapters, method: str) -> None:
    """The base is exact in bfloat16, so what float32 would give is known to the last digit."""
    checkpoint = open_checkpoint(adapters(method))
    base = merge(checkpoint, torch.bfloat16)
    tuned = load_adapter(
        load(Path(checkpoint.model.source), torch.bfloat16).float(), str(checkpoint.path)
    )
    exact = tuned.merge_and_unload(safe_merge=True).state_dict()
    for name, tensor in base.state_dict().items():
        assert tensor.dtype == torch.bfloat16, name
        assert torch.equal(tensor, exact[name].bfloat16()), name


def test_an_output_layer_trained_whole_is_no_longer_tied(
    adapters: Adapters, tied_model: Path, tmp_path: Path
) -> None:
    checkpoint = adapters(
        "lora",
        "lora_head",
        model_arguments__model_name_or_path=str(tied_model),
        tuning_arguments__modules_to_save=["lm_head"],
    )
    output = export(checkpoint, "merged", tmp_path / "out", "--check")
    merged = load(output)
    assert not torch.equal(merged.lm_head.weight, merged.model.embed_tokens.weight)
    expected = logits(load_adapter(load(tied_model), str(checkpoint)))
    assert (logits(merged) - expected).abs().max() < 1e-5


def test_an_adapter_is_copied_alone_and_loads(
    adapters: Adapters, tiny_model: Path, tmp_path: Path
) -> None:
    checkpoint = adapters("lora")
    output = export(checkpoint, "adapter", tmp_path / "out", "--check")
    assert set(contents(output)) == {
        *("README.md", "adapter_config.json", "adapter_model.safetensors"),
        *("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    }
    expected = logits(load_adapter(load(tiny_model), str(checkpoint)))
    assert torch.equal(logits(load_adapter(load(tiny_model), str(output))), expected)


def test_p_tuning_keeps_what_training_goes_on_from(adapters: Adapters, tmp_path: Path) -> None:
    output = export(adapters("p_tuning"), "adapter", tmp_path / "out", "--check")
    assert "prompt_encoder.safetensors" in contents(output)


def test_an_adapter_with_nan_is_not_merged(adapters: Adapters, tmp_path: Path) -> None:
    copy = copied(adapters("lora"), tmp_path)
    tensors = load_file(copy / "adapter_model.safetensors")
    next(iter(tensors.values()))[0] = float("nan")
    save_file(tensors, copy / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"adapter_model\.safetensors: holds NaN in base_model"):
        export(copy, "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_model_that_is_gone_is_named(
    adapters: Adapters, tiny_model: Path, tmp_path: Path
) -> None:
    copy = copied(adapters("lora"), tmp_path)
    run = (copy / "run_args.yaml").read_text()
    (copy / "run_args.yaml").write_text(run.replace(str(tiny_model), str(tmp_path / "gone")))
    with pytest.raises(ConfigError, match="gone is no directory here"):
        export(copy, "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()
