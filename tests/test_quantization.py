"""nf4: what is stored in 4 bits, how exactly, and that it comes back as it was computed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from det_files.faults import ConfigError
from det_files.models import ModelArguments, load_model
from det_files.quantization import (
    REQUIREMENT,
    dequantize,
    is_quantized,
    quantized_loading,
    quantized_modules,
)
from tiny import make_model

ROOT = Path(__file__).parent.parent
LAYERS = {"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}
IDS = torch.arange(5, 45).view(2, 20)


def load(directory: Path, quantization: str = "nf4", dtype: str = "float32", **more: Any) -> Any:
    args = ModelArguments(str(directory), quantization=quantization, dtype=dtype, **more)
    return load_model(args)[0].eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_linear_layers_alone_are_in_4_bits(tiny_model: Path, dtype: str) -> None:
    model = load(tiny_model, dtype=dtype)
    quantized = {name for name, p in model.named_parameters() if is_quantized(p)}
    assert {name.split(".")[-2] for name in quantized} == LAYERS
    rest = [p for p in model.parameters() if not is_quantized(p)]
    assert {p.dtype for p in rest} == {getattr(torch, dtype)}
    assert type(model.lm_head) is torch.nn.Linear  # the loss head multiplies with it by itself
    for parameter in model.parameters():
        if is_quantized(parameter):
            assert parameter.numel() * 2 == parameter.quant_state.shape.numel()
            assert parameter.quant_state.quant_type == "nf4" and parameter.quant_state.nested


def test_a_weight_is_off_by_less_than_the_widest_step_of_its_block(tmp_path: Path) -> None:
    """Half of the widest step between levels is 0.152 of a block's largest weight.

    Rows are whole blocks of 64, as in all models that are trained: bitsandbytes' kernel for CPUs
    with AVX-512 takes the scales of narrower rows from other blocks.
    """
    directory = make_model(tmp_path / "model", hidden_size=64)
    plain = load(directory, "none").state_dict()
    rounded = dequantize(load(directory), torch.float32).state_dict()
    assert plain.keys() == rounded.keys()
    for name, weight in plain.items():
        if name.split(".")[-2] not in LAYERS:
            assert torch.equal(rounded[name], weight)
            continue
        blocks, found = weight.view(-1, 64), rounded[name].view(-1, 64)
        largest = blocks.abs().amax(dim=1, keepdim=True)
        assert ((blocks - found).abs() <= 0.16 * largest).all()
        assert not torch.equal(blocks, found)
        assert all(len(block.unique()) <= 16 for block in found)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dequantized_it_is_a_plain_model_with_the_same_logits(
    tmp_path: Path, architecture: str, dtype: str
) -> None:
    directory = make_model(tmp_path / "model", architecture)
    model = load(directory, dtype=dtype)
    expected = logits(model)
    plain = dequantize(model, getattr(torch, dtype))
    assert torch.equal(logits(plain), expected)
    plain.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in (tmp_path / "saved" / "config.json").read_text()
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=getattr(torch, dtype))
    assert {type(m) for m in again.modules()} == {type(m) for m in plain.modules()}
    assert torch.equal(logits(again.eval()), expected)


def test_bfloat16_weights_in_float32_are_those_that_were_computed_with(tiny_model: Path) -> None:
    rounded = dequantize(load(tiny_model, dtype="bfloat16"), torch.float32)
    assert {p.dtype for p in rounded.parameters()} == {torch.float32}
    for parameter in rounded.parameters():
        assert torch.equal(parameter.bfloat16().float(), parameter)


def test_evaluation_repacks_no_weights(tiny_model: Path) -> None:
    """As bitsandbytes does on CPUs with AVX512-BF16, for a kernel that has no gradients."""
    model = load(tiny_model)
    names = [n for n, p in model.named_parameters() if is_quantized(p)]
    assert names
    for name in names:
        layer = model.get_submodule(name.removesuffix(".weight"))
        assert layer.support_avx512bf16_for_cpu is False


def test_modules_that_hold_a_layer_in_4_bits(tiny_model: Path) -> None:
    found = quantized_modules(load(tiny_model))
    assert {"model", "model.layers", "model.layers.0.mlp", "model.layers.1.mlp.up_proj"} <= found
    assert not found & {"lm_head", "model.embed_tokens", "model.norm", ""}
    assert quantized_modules(load(tiny_model, "none")) == set()


def test_a_larger_vocabulary_fits_too(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["駅", "道"])
    tokenizer.save_pretrained(tmp_path)
    model = load(tiny_model, tokenizer_name=str(tmp_path))
    assert model.get_input_embeddings().num_embeddings == 448
    assert logits(model).shape[-1] == 448


def test_a_model_that_is_quantised_already_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(ModelArguments(str(tiny_model), quantization="nf4"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"model_name_or_path: .* is quantised already") as caught:
        load(tmp_path)
    assert "name the model that it was made of" in str(caught.value)


def test_a_missing_package_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        quantized_loading(torch.bfloat16)
    (fault,) = caught.value.faults
    assert fault.path == "hyperparameters.model_arguments.quantization"
    assert fault.message.endswith(f"missing: pip install {REQUIREMENT}")
    assert REQUIREMENT in (ROOT / "requirements.txt").read_text().splitlines()
