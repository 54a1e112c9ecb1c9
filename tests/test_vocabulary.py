"""Extended vocabularies: new rows are the mean, trained where asked for, saved and merged."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import run_here
from transformers import AutoTokenizer

from det_files.faults import ConfigError
from det_files.models import SEQ2SEQ, ModelArguments, load_model
from det_files.tuning.adapters import load_adapter
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning
from tiny import make_model

WORDS = ["今日は", "天気", "你好", "世界", "🌸"]
TEXT = "今日は良い天気ですね。你好,世界! 🌸 the red cat"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny tokenizer with tokens for words of Japanese and Chinese."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert tokenizer.add_tokens(WORDS) == len(WORDS)
    directory = tmp_path_factory.mktemp("extended")
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_of_the_others(
    tmp_path: Path, extended: Path, tied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make_model(tmp_path, tie_word_embeddings=tied)
    before, _ = load_model(ModelArguments(str(directory), dtype="float32"))
    model, tokenizer = load_model(
        ModelArguments(str(directory), tokenizer_name=str(extended), dtype="float32")
    )
    assert len(tokenizer) == 384 + len(WORDS)
    assert model.config.vocab_size == 448  # the next multiple of 64
    for getter in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, getter)().weight, getattr(model, getter)().weight
        assert new.shape == (448, 32)
        assert new[:384].equal(old)
        torch.testing.assert_close(new[384:], old.mean(dim=0).expand(64, 32))
    same = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert same == tied
    assert "5 tokens are new to the model" in caplog.text
    assert "modules_to_save names embed_tokens, lm_head" in caplog.text


def test_rows_that_are_there_are_left_as_they_are_and_that_is_said(
    tmp_path: Path, extended: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make_model(tmp_path, vocab_size=448)
    before, _ = load_model(ModelArguments(str(directory), dtype="float32"))
    with caplog.at_level(logging.INFO):
        args = ModelArguments(str(directory), tokenizer_name=str(extended), dtype="float32")
        model, _ = load_model(args)
    assert model.get_input_embeddings().weight.equal(before.get_input_embeddings().weight)
    assert (
        "its 389 tokens find place in the model's 448 rows, which stay as they are" in caplog.text
    )


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_a_table_of_encoder_and_decoder_is_trained_as_a_whole_or_not(
    tmp_path: Path, extended: Path, architecture: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make_model(tmp_path, architecture)
    args = ModelArguments(str(directory), tokenizer_name=str(extended), dtype="float32")
    model, tokenizer = load_model(args, kind=SEQ2SEQ)
    assert "only method: full trains them" in caplog.text
    assert "modules_to_save" not in caplog.text
    for name in ("shared", "embed_tokens", "lm_head"):
        tuning = TuningArguments(method="lora", modules_to_save=[name])
        with pytest.raises(ConfigError, match=r"decoder\.embed_tokens, and its copy would be tr"):
            apply_tuning(model, tuning, tokenizer)


@pytest.mark.parametrize("tied", [True, False])
def test_each_module_that_is_saved_has_a_gradient(tmp_path: Path, tied: bool) -> None:
    directory = make_model(tmp_path, tie_word_embeddings=tied)
    model, tokenizer = load_model(ModelArguments(str(directory), dtype="float32"))
    tuning = TuningArguments(method="lora", modules_to_save=["embed_tokens", "lm_head"])
    tuned: Any = apply_tuning(model, tuning, tokenizer)
    ids = torch.tensor([[5, 6, 7]])
    tuned(input_ids=ids, labels=ids).loss.backward()
    saved = {n: p for n, p in tuned.named_parameters() if "modules_to_save" in n}
    assert len(saved) == 2
    assert all(p.grad is not None and p.grad.any() for p in saved.values())


def test_texts_of_any_script_come_back_byte_for_byte(extended: Path, tiny_model: Path) -> None:
    for name in (extended, tiny_model):
        tokenizer = AutoTokenizer.from_pretrained(name)
        ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids).encode() == TEXT.encode()
    longer = AutoTokenizer.from_pretrained(tiny_model)(TEXT)["input_ids"]
    assert len(AutoTokenizer.from_pretrained(extended)(TEXT)["input_ids"]) < len(longer)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    for split, count in (("train", 16), ("val", 4)):
        (directory / split).mkdir()
        rows = [{"input": f"今日は {i}", "output": f"天気 {i} 世界🌸"} for i in range(count)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (directory / split / "rows.jsonl").write_text(text, encoding="utf-8")
    return directory


def trained(trial: Path, model: Path, tokenizer: Path, data: Path, **tuning: Any) -> Path:
    return run_here(
        trial,
        {
            "model_arguments": {
                "model_name_or_path": str(model),
                "tokenizer_name": str(tokenizer),
                "dtype": "float32",
            },
            "data_arguments": {"sources": [{"path": str(data)}]},
            "tuning_arguments": tuning,
            "training_arguments": {
                "max_steps": 6,
                "per_device_train_batch_size": 4,
                "learning_rate": 1e-2,
                "use_cpu": True,
            },
        },
    )


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def test_new_rows_are_trained_saved_and_merged(
    tmp_path: Path, tiny_model: Path, extended: Path, data: Path
) -> None:
    modules = ["embed_tokens", "lm_head"]
    checkpoint = trained(
        tmp_path / "trial", tiny_model, extended, data, method="lora", modules_to_save=modules
    )
    source = ModelArguments(str(tiny_model), tokenizer_name=str(extended), dtype="float32")
    base, tokenizer = load_model(source)
    untrained = logits(base, tokenizer)
    mean = base.get_input_embeddings().weight[-1].clone()
    model = load_adapter(base, str(checkpoint))
    assert (logits(model, tokenizer) - untrained).abs().max() > 1e-3
    new = tokenizer.convert_tokens_to_ids(WORDS[0])
    assert not torch.allclose(model.get_input_embeddings().weight[new], mean)
    wanted = logits(model, tokenizer)
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    again, same = load_model(ModelArguments(str(tmp_path / "merged"), dtype="float32"))
    torch.testing.assert_close(logits(again, same), wanted)


def test_a_fully_tuned_model_holds_the_larger_tables(
    tmp_path: Path, tiny_model: Path, extended: Path, data: Path
) -> None:
    checkpoint = trained(tmp_path / "trial", tiny_model, extended, data, method="full")
    model, tokenizer = load_model(ModelArguments(str(checkpoint), dtype="float32"))
    assert model.config.vocab_size == 448
    assert set(WORDS) <= set(tokenizer.get_vocab())
