"""Extended vocabularies: new rows are the mean, trained where asked for, saved and merged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import run_here
from transformers import AutoTokenizer

from det_files.models import ModelArguments, load_model
from det_files.tuning.adapters import load_adapter
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
