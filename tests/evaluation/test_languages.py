"""mBART answers in the target language: in evaluations, in the comparison, and when exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from export_checkpoints import Adapters, export, seq2seq_adapters
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from det_files.evaluation import generated
from det_files.evaluation.compare import compare
from det_files.evaluation.text_metrics import text_scores
from tiny import make_data, make_mbart

KINDS = ["mbart", "mbart50"]
LIMIT = 6
LANGUAGES = {
    "data_arguments__source_language": "de_DE",
    "data_arguments__target_language": "ja_XX",
    "data_arguments__max_output_tokens": LIMIT,
    "training_arguments__predict_with_generate": True,
    "training_arguments__learning_rate": 1e-4,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), train=16, val=5, test=4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Adapters]:
    made = {}
    for kind in KINDS:
        directory = tmp_path_factory.mktemp(kind)
        model = make_mbart(directory / "model", kind, strength=20)
        made[kind] = seq2seq_adapters(directory / "trials", model, data, **LANGUAGES)
    return made


@pytest.fixture(scope="module")
def evaluated(trained: dict[str, Adapters]) -> dict[str, tuple[Path, list[str]]]:
    """kind → the checkpoint of a full fine-tune, and what its last evaluation generated."""
    found = {}
    for kind in KINDS:
        answers: list[list[str]] = []

        def noted(texts: list[str], references: list[str], to: Any = answers) -> Any:
            to.append(texts)
            return text_scores(texts, references)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(generated, "text_scores", noted)
            checkpoint = trained[kind]("full")
        found[kind] = checkpoint, answers[-1]
    return found


def words(data: Path, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data / split / "rows.jsonl").open()]


def in_japanese(model: Any, tokenizer: Any, text: str) -> list[int]:
    """Greedy search with the language put where mBART's paper puts it; nothing of ours."""
    language = tokenizer.convert_tokens_to_ids("ja_XX")
    german, end = tokenizer.convert_tokens_to_ids("de_DE"), tokenizer.eos_token_id
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    fifty = type(tokenizer).__name__.startswith("MBart50")
    read = torch.tensor([[german, *ids, end] if fifty else [*ids, end, german]])
    written = [end, language] if fifty else [language]
    start, forced = len(written), model.config.forced_eos_token_id
    length = LIMIT - (1 if fifty else 0)
    while len(written) < start + length and end not in written[start:]:
        with torch.no_grad():
            logits = model(input_ids=read, decoder_input_ids=torch.tensor([written])).logits
        last = forced is not None and len(written) == start + length - 1
        written.append(int(forced if last else logits[0, -1].argmax()))
    return written[start:]


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_asks_for_the_target_language(
    evaluated: dict[str, tuple[Path, list[str]]], data: Path, kind: str
) -> None:
    checkpoint, answers = evaluated[kind]
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert (tokenizer.src_lang, tokenizer.tgt_lang) == ("de_DE", "ja_XX")
    expected = [
        tokenizer.decode(in_japanese(model, tokenizer, row["input"]), skip_special_tokens=True)
        for row in words(data, "val")
    ]
    assert any(expected)
    assert answers == expected


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_answers_in_it_unasked(
    trained: dict[str, Adapters], kind: str, tmp_path: Path
) -> None:
    key = "forced_bos_token_id" if kind == "mbart50" else "decoder_start_token_id"
    for method, form in (("full", "hf"), ("lora", "merged"), ("lora", "adapter")):
        output = export(trained[kind](method), form, tmp_path / f"{method} {form}", "--check")
        tokenizer = AutoTokenizer.from_pretrained(output)
        language = tokenizer.convert_tokens_to_ids("ja_XX")
        assert getattr(GenerationConfig.from_pretrained(output), key) == language
        assert "reads `de_DE` and writes `ja_XX`" in (output / "README.md").read_text()
        if form == "adapter":
            continue
        model = AutoModelForSeq2SeqLM.from_pretrained(output)
        ids = torch.tensor([tokenizer("the red cat")["input_ids"]])
        answer = model.generate(ids, max_new_tokens=4, num_beams=1, do_sample=False)[0].tolist()
        assert answer[1 if kind == "mbart50" else 0] == language
        assert "pipeline_tag: translation" in (output / "README.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_asks_for_it_too(
    evaluated: dict[str, tuple[Path, list[str]]], data: Path, kind: str, tmp_path: Path
) -> None:
    checkpoint, _ = evaluated[kind]
    trial = tmp_path / "runs" / "tiny" / "1" / "trials" / "1"
    (trial / "checkpoints").mkdir(parents=True)
    (trial / "checkpoints" / "best").symlink_to(checkpoint)
    best = {"best_trial": 1, "trials": [{"trial": 1, "best_checkpoint": "best"}]}
    (tmp_path / "runs" / "tiny" / "1" / "summary.json").write_text(json.dumps(best))
    evaluation = compare(tmp_path / "runs" / "tiny" / "1")
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    model.config.forced_eos_token_id = None  # the limit is another, and is not reached alike
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    expected = [
        tokenizer.decode(in_japanese(model, tokenizer, row["input"])[:3], skip_special_tokens=True)
        for row in words(data, "test")
    ]
    assert any(expected)
    for answer, example in zip(expected, evaluation["examples"], strict=True):
        assert example["finetuned"].startswith(answer)
