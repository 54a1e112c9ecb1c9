"""Prompts: where their virtual tokens begin, and what is said of a text that is cut."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from det_files.faults import ConfigError
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def prompted(tiny_model: Path, tokenizer: Any, seed: int = 42, **arguments: Any) -> Any:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return apply_tuning(model, TuningArguments(method="prompt", **arguments), tokenizer, seed)


def prompt_of(model: Any) -> torch.Tensor:
    return model.prompt_encoder["default"].embedding.weight


def test_a_text_is_repeated_until_it_fills_the_virtual_tokens(
    tiny_model: Path, tokenizer: Any
) -> None:
    model = prompted(tiny_model, tokenizer, init="text", init_text="red cat", num_virtual_tokens=7)
    ids = tokenizer("red cat", add_special_tokens=False)["input_ids"]
    wanted = (ids * 7)[:7]
    table = model.get_base_model().get_input_embeddings().weight
    assert prompt_of(model).equal(table[wanted])
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names == {"prompt_encoder.default.embedding.weight"}


def test_what_is_cut_of_a_text_is_said(
    tiny_model: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    text = "the red cat sees the green house"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with caplog.at_level(logging.WARNING):
        prompted(tiny_model, tokenizer, init="text", init_text=text, num_virtual_tokens=3)
    (record,) = caplog.records
    assert f"init_text has {len(ids)} tokens and num_virtual_tokens is 3" in record.getMessage()
    assert repr(tokenizer.decode(ids[3:])) in record.getMessage()


def test_a_vocabularys_tokens_are_drawn_by_the_seed(tiny_model: Path, tokenizer: Any) -> None:
    options = {"init": "vocab", "num_virtual_tokens": 5}
    models = [prompted(tiny_model, tokenizer, seed, **options) for seed in (1, 1, 2)]
    first, again, other = map(prompt_of, models)
    assert first.equal(again)
    assert not first.equal(other)
    table = models[0].get_base_model().get_input_embeddings().weight
    assert all((table == row).all(dim=1).any() for row in first)


def test_a_text_without_tokens_is_refused(tiny_model: Path, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match=r"tuning_arguments\.init_text: has no tokens"):
        prompted(tiny_model, tokenizer, init="text", init_text="")
