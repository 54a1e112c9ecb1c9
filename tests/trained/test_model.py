"""Every kind of checkpoint becomes a model that computes what training computed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from export_checkpoints import Adapters, as_checkpoint
from transformers import AutoModelForCausalLM

from det_files.experiment import parse_yaml, to_yaml
from det_files.faults import ConfigError
from det_files.quantization import is_quantized
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import BASE, TUNED, load_base, load_trained

IDS = torch.tensor([[4, 9, 30, 7, 5]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "prompt", "p_tuning", "prefix"])
def test_one_copy_of_the_weights_answers_with_the_adapter_and_without(
    adapters: Adapters, tiny_model: Path, method: str
) -> None:
    trained = load_trained(open_checkpoint(adapters(method)))
    assert trained.has_base
    assert trained.kind == "causal"
    assert not trained.model.training
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with trained.answering_as(BASE) as model:
        torch.testing.assert_close(logits(model), logits(base))
    with trained.answering_as(TUNED) as model:
        assert not torch.allclose(logits(model)[:, -5:], logits(base))


@pytest.mark.parametrize("name", ["gathered", "scattered"])
def test_a_whole_model_is_one_and_its_base_another(
    zero_checkpoints: dict[str, Path], tied_model: Path, name: str
) -> None:
    checkpoint = open_checkpoint(zero_checkpoints[name])
    trained = load_trained(checkpoint)
    assert not trained.has_base
    with pytest.raises(ValueError, match="another one"), trained.answering_as(BASE):
        pass
    started = AutoModelForCausalLM.from_pretrained(tied_model, dtype=torch.float32)
    assert not torch.allclose(logits(trained.model), logits(started))
    torch.testing.assert_close(logits(load_base(checkpoint).model), logits(started))


def test_a_base_in_4_bits_stays_so(adapters: Adapters, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(adapters("lora"), tmp_path / "checkpoint"))
    (checkpoint / "manifest.json").unlink()
    file = checkpoint / "run_args.yaml"
    run = parse_yaml(file.read_text(), "run")
    run["model_arguments"]["quantization"] = "nf4"
    file.write_text(to_yaml(run))
    trained = load_trained(open_checkpoint(checkpoint))
    assert any(is_quantized(parameter) for parameter in trained.model.parameters())
    assert torch.isfinite(logits(trained.model)).all()


def test_another_precision_may_be_asked_for(adapters: Adapters) -> None:
    trained = load_trained(open_checkpoint(adapters("lora")), "bfloat16")
    assert trained.model.get_input_embeddings().weight.dtype == torch.bfloat16


def test_prompts_have_the_template_that_lies_beside_the_weights(
    adapters: Adapters, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(adapters("lora"), tmp_path / "checkpoint"))
    (checkpoint / "manifest.json").unlink()
    file = checkpoint / "run_args.yaml"
    run = parse_yaml(file.read_text(), "run")
    run["data_arguments"] |= {"chat_template": "gone.jinja", "input_format": "ask: __input__"}
    file.write_text(to_yaml(run))
    trained = load_trained(open_checkpoint(checkpoint))
    text = trained.tokenizer.decode(trained.prompts().tokens({"input": "a cat"}))
    assert text == "<|im_start|>user\nask: a cat<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_pairs_prompt_is_the_question(tiny_model: Path, tmp_path: Path, method: str) -> None:
    whole = Path(shutil.copytree(tiny_model, tmp_path / "whole"))
    sources = [{"path": "pairs", "columns": {"prompt": "question"}}]
    as_checkpoint(
        whole, preference_arguments={"method": method}, data_arguments={"sources": sources}
    )
    columns = load_trained(open_checkpoint(whole)).data.sources[0].columns
    assert columns["input"] == "question"
    assert columns.get("output") == ("chosen" if method == "dpo" else None)


def test_a_reward_model_answers_nothing(tiny_model: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(tiny_model, tmp_path / "whole"))
    as_checkpoint(whole, preference_arguments={"method": "reward"})
    with pytest.raises(ConfigError, match="scores answers and gives none"):
        load_trained(open_checkpoint(whole))
