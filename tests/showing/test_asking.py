"""Questions are drawn by a seed and have training's prompt, or none of its format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from export_checkpoints import Adapters, seq2seq_adapters

from det_files.faults import ConfigError
from det_files.generation.decoding import generate_answers
from det_files.showing.asking import ask_both, plain_questions, sample_questions
from det_files.showing.forgetting import probe_forgetting
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import MODELS
from det_files.trained.pair import Pair
from tiny import make_model


@pytest.fixture(scope="module")
def pair(adapters: Adapters) -> Pair:
    return Pair(open_checkpoint(adapters("lora")))


def test_a_sample_is_settled_by_its_seed(pair: Pair, tiny_data: Path) -> None:
    rows = [json.loads(line)["input"] for line in (tiny_data / "test" / "rows.jsonl").open()]
    drawn = {seed: [q.shown for q in sample_questions(pair, 3, seed)] for seed in range(6)}
    assert drawn[2] == [q.shown for q in sample_questions(pair, 3, 2)]
    assert len(set(map(tuple, drawn.values()))) > 1
    for found in drawn.values():
        assert found == [row for row in rows if row in found]
    assert [q.shown for q in sample_questions(pair, 99)] == rows


def test_an_empty_sample_is_refused(pair: Pair) -> None:
    for size in (0, -1):
        with pytest.raises(ConfigError, match=f"sample: expected at least 1, got {size}"):
            sample_questions(pair, size)


def test_plain_questions_have_no_format_of_the_task(adapters: Adapters) -> None:
    formatted = adapters("lora", "formatted", data_arguments__input_format="say: __input__")
    pair = Pair(open_checkpoint(formatted))
    (plain,) = plain_questions(pair, ["a cat"])
    head, tail = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    assert pair.tokenizer.decode(plain.prompt) == f"{head}a cat{tail}"
    asked = sample_questions(pair, 1)[0]
    assert pair.tokenizer.decode(asked.prompt) == f"{head}say: {asked.shown}{tail}"
    assert plain.reference is None


def test_answers_come_in_the_questions_order_with_their_seconds(pair: Pair) -> None:
    questions = sample_questions(pair, 4)
    both = ask_both(pair, questions, 6)
    prompts = [question.prompt for question in questions]
    expected = pair.each(
        lambda _, model: generate_answers(model, pair.tokenizer, prompts, max_new_tokens=6)
    )
    for which, texts in expected.items():
        assert both.texts(which) == texts
        assert all(seconds > 0 for seconds in both.seconds(which))
        assert max(both.tokens(which)) <= both.max_new_tokens == 6
    assert both.references == [question.reference for question in questions]


def test_the_longest_right_answer_sets_the_limit(pair: Pair) -> None:
    questions = sample_questions(pair, 2)
    longest = max(question.reference_tokens for question in questions)
    assert ask_both(pair, questions).max_new_tokens == int(1.5 * longest) + 1


def test_nothing_is_answered_by_nothing(pair: Pair) -> None:
    both = ask_both(pair, [])
    assert [both.texts(which) for which in MODELS] == [[], []]


def test_an_encoder_decoder_is_asked_too(tiny_data: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "t5", "t5")
    checkpoint = seq2seq_adapters(tmp_path / "trials", model, tiny_data)("lora")
    pair = Pair(open_checkpoint(checkpoint))
    both = ask_both(pair, [*sample_questions(pair, 2), *plain_questions(pair, ["a cat"])], 5)
    assert pair.tokenizer.decode(both.questions[2].prompt, skip_special_tokens=True) == "a cat"
    assert [len(both.texts(which)) for which in MODELS] == [3, 3]
    assert probe_forgetting(pair) == []
