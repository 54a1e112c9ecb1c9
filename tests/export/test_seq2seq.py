"""Encoder-decoders leave checkpoints as decoders do: whole, merged, as adapters; not as GGUF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from export_checkpoints import Adapters, export, seq2seq_adapters
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM

from conftest import RunTrials
from det_files.export.check import compare_logits
from det_files.faults import ConfigError
from det_files.models import SEQ2SEQ, ModelArguments, load_model
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.locating import find_checkpoint
from det_files.tuning.adapters import load_adapter
from tiny import make_model

STAGE_3 = {"deepspeed_config": "ds_configs/ds_config_stage_3.json"}
SCATTERED = "overwrite_deepspeed_args__zero_optimization__stage3_gather_16bit_weights_on_model_save"
READ = {"input_ids": torch.arange(4, 30)[None], "decoder_input_ids": torch.arange(3, 40)[None]}

Family = Callable[[str], Adapters]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    directory = tmp_path_factory.mktemp("models")

    def model(architecture: str) -> Path:
        there = directory / architecture
        return there if there.exists() else make_model(there, architecture)

    return model


@pytest.fixture(scope="module")
def family(
    models: Callable[[str], Path], tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Family:
    """architecture → what trains it in this process."""
    directory = tmp_path_factory.mktemp("trained")
    made: dict[str, Adapters] = {}

    def of(architecture: str) -> Adapters:
        if architecture not in made:
            model = models(architecture)
            made[architecture] = seq2seq_adapters(directory / architecture, model, tiny_data)
        return made[architecture]

    return of


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**READ).logits
    return found


def load(directory: Path) -> Any:
    return AutoModelForSeq2SeqLM.from_pretrained(directory, dtype=torch.float32)


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_of_a_base_in_4_bits_the_weights_it_was_trained_on_are_merged(
    family: Family, models: Callable[[str], Path], tmp_path: Path, architecture: str
) -> None:
    checkpoint = family(architecture)("lora", "lora_nf4", model_arguments__quantization="nf4")
    output = export(checkpoint, "merged", tmp_path / "out", "--check")
    args = ModelArguments(str(models(architecture)), dtype="float32", quantization="nf4")
    quantized, _ = load_model(args, kind=SEQ2SEQ)
    expected = logits(load_adapter(quantized, str(checkpoint)))
    assert (logits(load(output)) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("architecture", "method"), [("t5", "lora"), ("t5", "ia3"), ("bart", "dora"), ("mbart", "lora")]
)
def test_merged_gives_the_logits_of_base_and_adapter(
    family: Family,
    models: Callable[[str], Path],
    tmp_path: Path,
    architecture: str,
    method: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = family(architecture)(method)
    output = export(checkpoint, "merged", tmp_path / "out", "--check")
    expected = logits(load_adapter(load(models(architecture)), str(checkpoint)))
    assert (logits(load(output)) - expected).abs().max() < 1e-5
    assert (logits(load(models(architecture))) - expected).abs().max() > 1e-3
    assert "on 4 prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("architecture", "method"),
    [("t5", "lora"), ("t5", "prompt"), ("t5", "p_tuning"), ("t5", "prefix"), ("bart", "prompt")],
)
def test_an_adapter_is_copied_and_loads(
    family: Family,
    models: Callable[[str], Path],
    tmp_path: Path,
    architecture: str,
    method: str,
) -> None:
    checkpoint = family(architecture)(method)
    output = export(checkpoint, "adapter", tmp_path / "out", "--check")
    tuned = [load_adapter(load(models(architecture)), str(d)) for d in (checkpoint, output)]
    assert torch.equal(logits(tuned[0]), logits(tuned[1]))
    assert not torch.allclose(logits(tuned[1])[:, -37:], logits(load(models(architecture))))


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_a_whole_model_is_copied_and_its_card_says_what_it_is(
    family: Family, tmp_path: Path, architecture: str
) -> None:
    checkpoint = family(architecture)("full")
    output = export(checkpoint, "hf", tmp_path / "out", "--check")
    assert torch.equal(logits(load(output)), logits(load(checkpoint)))
    card = (output / "README.md").read_text()
    assert "`AutoModelForSeq2SeqLM` loads it" in card
    assert ModelCard(card).data.pipeline_tag is None
    ids = READ["input_ids"]
    assert load(output).generate(ids, max_new_tokens=3).shape[1] > 1


def test_scattered_shards_become_the_models_that_were_gathered(
    run_trials: RunTrials,
    models: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """T5 ties four tables, BART has a buffer; both trials of each are of one seed."""
    trials: Mapping[str, Mapping[str, Any]] = {
        f"{architecture} {name}": STAGE_3
        | {
            "training_arguments__max_steps": 2,
            "model_arguments__model_name_or_path": str(models(architecture)),
            SCATTERED: name == "gathered",
        }
        for architecture in ("t5", "bart")
        for name in ("gathered", "scattered")
    }
    done = run_trials(tmp_path, 2, trials, "det_files.run_seq2seq")
    for architecture in ("t5", "bart"):
        paths = []
        for name in ("gathered", "scattered"):
            trial = done[f"{architecture} {name}"]
            assert trial.code == 0, trial.output
            paths.append(find_checkpoint(trial.directory, None))
        assert not (paths[1] / "model.safetensors").exists()
        output = export(paths[1], "hf", tmp_path / f"{architecture} out", "--check")
        model, told = AutoModelForSeq2SeqLM.from_pretrained(output, output_loading_info=True)
        assert not told["missing_keys"] and not told["unexpected_keys"]
        expected = load(paths[0]).state_dict()
        assert model.state_dict().keys() == expected.keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[name]), name


def test_a_changed_weight_of_the_decoder_is_found(family: Family, tmp_path: Path) -> None:
    output = export(family("t5")("lora"), "merged", tmp_path / "out")
    tensors = load_file(output / "model.safetensors")
    tensors["decoder.block.1.layer.2.DenseReluDense.wo.weight"] *= 1.5
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(family("t5")("lora"))
    assert checkpoint.kind == SEQ2SEQ
    assert not compare_logits(checkpoint, output, "merged", "float32").is_small


@pytest.mark.parametrize(
    ("architecture", "tool"),
    [
        ("t5", r"use llama\.cpp's convert_hf_to_gguf\.py .*--to merged, with .*spiece\.model"),
        ("mbart", r"llama\.cpp and its convert_hf_to_gguf\.py have T5 alone"),
    ],
)
def test_gguf_is_refused_with_the_tool_there_is(
    family: Family, tmp_path: Path, architecture: str, tool: str
) -> None:
    with pytest.raises(ConfigError, match=rf"gguf: {architecture} is an encoder-decoder.*{tool}"):
        export(family(architecture)("lora"), "gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["hf", "merged"])
def test_t5_is_not_written_in_float16(family: Family, tmp_path: Path, form: str) -> None:
    checkpoint = family("t5")("full" if form == "hf" else "lora")
    with pytest.raises(ConfigError, match="--dtype: T5 was trained in bfloat16 and overflows"):
        export(checkpoint, form, tmp_path / "out", "--dtype", "float16")


def test_the_kind_of_a_whole_model_is_its_configs(family: Family) -> None:
    checkpoint = family("bart")("full")
    assert json.loads((checkpoint / "config.json").read_text())["is_encoder_decoder"] is True
    assert open_checkpoint(checkpoint).kind == SEQ2SEQ
