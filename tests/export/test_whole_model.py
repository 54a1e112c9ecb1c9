"""`hf`: a directory that transformers loads, with the weights and the tokenizer of the trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from export_checkpoints import as_checkpoint, contents, edit_json, export, write_stage_3
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, MixtralConfig

from det_files.faults import ConfigError
from tiny import CHAT_TEMPLATE, make_tokenizer

MESSAGES = [{"role": "user", "content": "the red cat"}]


def test_scattered_shards_become_the_model_that_was_gathered(
    zero_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Both trials are of one seed, so that their weights are the same."""
    output = export(zero_checkpoints["scattered"], "hf", tmp_path / "out", "--check")
    expected = AutoModelForCausalLM.from_pretrained(zero_checkpoints["gathered"]).state_dict()
    model, told = AutoModelForCausalLM.from_pretrained(output, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert model.state_dict().keys() == expected.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert "lm_head.weight" not in load_file(output / "model.safetensors")


def test_what_generation_needs_is_there_and_nothing_of_the_run(
    zero_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    output = export(zero_checkpoints["scattered"], "hf", tmp_path / "out")
    assert set(contents(output)) == {
        *("README.md", "chat_template.jinja", "config.json", "generation_config.json"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    assert AutoConfig.from_pretrained(output).use_cache is True
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    prompt = tokenizer.apply_chat_template(MESSAGES, return_tensors="pt", return_dict=False)
    answer = AutoModelForCausalLM.from_pretrained(output).generate(prompt, max_new_tokens=3)
    assert answer.shape[1] > prompt.shape[1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_is_that_of_weights_and_config(
    zero_checkpoints: dict[str, Path], tmp_path: Path, dtype: str
) -> None:
    output = export(
        zero_checkpoints["gathered"], "hf", tmp_path / "out", "--dtype", dtype, "--check"
    )
    before = load_file(zero_checkpoints["gathered"] / "model.safetensors")
    for name, tensor in load_file(output / "model.safetensors").items():
        assert torch.equal(tensor, before[name].to(getattr(torch, dtype))), name
    assert json.loads((output / "config.json").read_text())["dtype"] == dtype


def test_the_runs_dtype_is_the_default(zero_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    output = export(zero_checkpoints["stage_2"], "hf", tmp_path / "out")
    tensors = load_file(output / "model.safetensors").values()
    assert {tensor.dtype for tensor in tensors} == {torch.bfloat16}


def test_shards_are_no_larger_than_asked_for(
    zero_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    output = export(
        zero_checkpoints["scattered"], "hf", tmp_path / "out", "--max-shard-size", "60KB", "--check"
    )
    files = sorted(output.glob("model-*-of-*.safetensors"))
    assert len(files) > 1
    assert all(file.stat().st_size < 62_000 for file in files)
    index = json.loads((output / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {file.name for file in files}


def test_a_mixture_of_experts_is_stored_as_transformers_stores_it(tmp_path: Path) -> None:
    """Its experts are computed as one tensor and stored as many."""
    config = MixtralConfig(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(tmp_path / "stored")
    checkpoint = tmp_path / "checkpoint"
    write_stage_3(model.state_dict(), checkpoint, 2)
    model.config.save_pretrained(checkpoint)
    make_tokenizer(checkpoint)
    output = export(as_checkpoint(checkpoint), "hf", tmp_path / "out", "--check")
    stored = load_file(tmp_path / "stored" / "model.safetensors")
    written = load_file(output / "model.safetensors")
    assert "model.layers.0.block_sparse_moe.experts.3.w1.weight" in written
    assert written.keys() == stored.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in stored.items())


def test_shards_of_another_model_are_refused(tmp_path: Path, tied_model: Path) -> None:
    state = AutoModelForCausalLM.from_pretrained(tied_model).state_dict()
    del state["model.layers.1.mlp.up_proj.weight"]
    checkpoint = write_stage_3(state, tmp_path / "checkpoint", 2)
    AutoConfig.from_pretrained(tied_model).save_pretrained(checkpoint)
    edit_json(checkpoint / "config.json", vocab_size=400)
    make_tokenizer(checkpoint)
    with pytest.raises(ConfigError, match=r"differ in lm_head\.weight, model\.embed.*up_proj"):
        export(as_checkpoint(checkpoint), "hf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
