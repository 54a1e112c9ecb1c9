"""Models whose tables grew for more tokens: every form carries them, or goes onto them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from export_checkpoints import Adapters, as_checkpoint, edit_json, export, write_stage_3
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from det_files.models import ModelArguments, load_model
from det_files.tuning.adapters import load_adapter
from tiny import make_tokenizer

WORDS = ["今日は", "天気", "你好", "世界", "🌸"]
TEXT = "今日は天気 the red cat 世界🌸"
ROWS = 448  # 384 and 5 tokens, up to a multiple of 64
BOTH = {"tuning_arguments__modules_to_save": ["embed_tokens", "lm_head"]}
# One of two tied tables is trained, and then they are two.
EMBEDDING = {"tuning_arguments__modules_to_save": ["embed_tokens"]}


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_tokenizer(tmp_path_factory.mktemp("extended"))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert tokenizer.add_tokens(WORDS) == len(WORDS)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def grown(
    tiny_overrides: dict[str, Any], extended: Path, tmp_path_factory: pytest.TempPathFactory
) -> Adapters:
    """What trains the tiny Llama with more tokens than it had; on rows that have them."""
    data = tmp_path_factory.mktemp("data")
    for split, count in (("train", 16), ("val", 4)):
        (data / split).mkdir()
        rows = [{"input": f"今日は {i}", "output": f"天気 {i} 世界🌸"} for i in range(count)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (data / split / "rows.jsonl").write_text(text, encoding="utf-8")
    more = {
        "model_arguments__tokenizer_name": str(extended),
        "data_arguments__sources": [{"path": str(data)}],
        "training_arguments__max_steps": 4,
    }
    return Adapters(tmp_path_factory.mktemp("grown"), tiny_overrides | more)


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        ids = torch.tensor([tokenizer(TEXT)["input_ids"]])
        found: torch.Tensor = model.eval()(input_ids=ids).logits[:, -ids.shape[1] :]
    return found


def load(directory: Path, **options: Any) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **options)
    return model, AutoTokenizer.from_pretrained(directory, **options)


def expected(base: Path, extended: Path, checkpoint: Path) -> torch.Tensor:
    """Logits of the adapter on the base model, grown as training grows it."""
    source = ModelArguments(str(base), tokenizer_name=str(extended), dtype="float32")
    model, tokenizer = load_model(source)
    return logits(load_adapter(model, str(checkpoint)), tokenizer)


def test_a_whole_model_has_the_larger_tables(grown: Adapters, tmp_path: Path) -> None:
    model, tokenizer = load(export(grown("full"), "hf", tmp_path / "out", "--check"))
    assert model.config.vocab_size == len(model.get_input_embeddings().weight) == ROWS
    assert set(WORDS) <= set(tokenizer.get_vocab())
    trained, _ = load(grown("full"))
    assert torch.equal(logits(model, tokenizer), logits(trained, tokenizer))


def test_so_has_one_out_of_shards(grown: Adapters, extended: Path, tmp_path: Path) -> None:
    trained, tokenizer = load(grown("full"))
    shards = write_stage_3(trained.state_dict(), tmp_path / "shards", 2)
    trained.config.save_pretrained(shards)
    tokenizer.save_pretrained(shards)
    model, again = load(export(as_checkpoint(shards), "hf", tmp_path / "out", "--check"))
    assert model.config.vocab_size == ROWS
    assert torch.equal(logits(model, again), logits(trained, tokenizer))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("saved", [{}, BOTH, EMBEDDING], ids=["none", "both", "embedding"])
def test_an_adapter_is_merged_into_the_larger_tables(
    grown: Adapters,
    extended: Path,
    tiny_model: Path,
    tied_model: Path,
    tmp_path: Path,
    tied: bool,
    saved: dict[str, Any],
) -> None:
    base = tied_model if tied else tiny_model
    name = f"lora {tied} {next(iter(saved.values()), [])}"
    checkpoint = grown("lora", name, model_arguments__model_name_or_path=str(base), **saved)
    model, tokenizer = load(export(checkpoint, "merged", tmp_path / "out", "--check"))
    assert model.config.vocab_size == len(model.get_output_embeddings().weight) == ROWS
    wanted = expected(base, extended, checkpoint)
    assert (logits(model, tokenizer) - wanted).abs().max() < 1e-5
    new = tokenizer.convert_tokens_to_ids(WORDS[0])
    table = model.get_input_embeddings().weight
    assert torch.allclose(table[new], table[-1]) != bool(saved)  # trained, or the mean still


@pytest.mark.parametrize(("method", "saved"), [("lora", BOTH), ("lora", {}), ("prompt", {})])
def test_an_adapter_goes_onto_the_larger_tables(
    grown: Adapters,
    extended: Path,
    tiny_model: Path,
    tmp_path: Path,
    method: str,
    saved: dict[str, Any],
) -> None:
    checkpoint = grown(method, f"adapter {method} {bool(saved)}", **saved)
    output = export(checkpoint, "adapter", tmp_path / "out", "--check")
    wanted = expected(tiny_model, extended, checkpoint)
    assert torch.equal(expected(tiny_model, output, output), wanted)
    assert "its tables grow first, to a multiple of 64 rows" in (output / "README.md").read_text()


def test_gguf_has_a_token_for_every_row(
    grown: Adapters, extended: Path, tiny_model: Path, tmp_path: Path
) -> None:
    checkpoint = grown("lora", "gguf", **BOTH)
    output = export(checkpoint, "gguf", tmp_path / "out", "--dtype", "float32", "--check")
    field = GGUFReader(output / "model-F32.gguf").fields["tokenizer.ggml.tokens"]
    tokens = [bytes(field.parts[index]).decode() for index in field.data]
    assert len(tokens) == ROWS
    assert tokens[384:389] == WORDS
    model, _ = load(output, gguf_file="model-F32.gguf")
    # transformers reads added tokens of ASCII alone back, so that ids come from the trial's.
    found = logits(model, AutoTokenizer.from_pretrained(extended))
    assert (found - expected(tiny_model, extended, checkpoint)).abs().max() < 1e-4


def test_a_table_that_was_not_grown_is_found(grown: Adapters, tmp_path: Path) -> None:
    """A fault of the check would be to compare tokens that both have alone."""
    from det_files.export.check import compare_logits
    from det_files.trained.checkpoint import open_checkpoint

    output = export(grown("full"), "hf", tmp_path / "out")
    model, _ = load(output)
    model.resize_token_embeddings(ROWS - 1)
    model.save_pretrained(output)
    edit_json(output / "config.json", use_cache=True)
    found = compare_logits(open_checkpoint(grown("full")), output, "hf", "float32")
    assert not found.is_small
