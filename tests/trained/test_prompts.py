"""A trained model's prompts are the very tokens that training put before an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.encoding import RowEncoder
from det_files.data.templates import NotRendered, Template
from det_files.faults import ConfigError
from det_files.trained.prompts import Prompts

ASKED = SourceArguments(path="asked", input_format="Q: __input__")
TOLD = SourceArguments(path="told", input_format="Tell: __input__")


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def test_a_row_is_what_training_had_before_its_answer(tokenizer: Any) -> None:
    data = DataArguments(sources=[ASKED], max_input_tokens=3)
    source = data.settled_sources()[0]
    template = Template.of(data, tokenizer, source)
    (learned,) = RowEncoder(source, template).encode([{"input": "a cat", "output": "a dog"}])
    prompt = learned.tokens[: learned.learned.index(True)]
    assert Prompts(data, tokenizer).tokens({"input": "a cat"}) == prompt


def test_nothing_is_cut(tokenizer: Any) -> None:
    data = DataArguments(sources=[ASKED], max_input_tokens=3)
    text = tokenizer.decode(Prompts(data, tokenizer).tokens({"input": "a red cat " * 9}))
    assert text.count("red") == 9


def test_a_conversation_is_answered_behind_its_last_question(tokenizer: Any) -> None:
    prompts = Prompts(DataArguments(sources=[ASKED]), tokenizer)
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    text = tokenizer.decode(prompts.conversation(turns))
    assert text.endswith("three<|im_end|>\n<|im_start|>assistant\n")
    assert "two<|im_end|>" in text
    # As in the test split: a last answer is what is asked for.
    answered = [*turns, {"role": "assistant", "content": "four"}]
    assert prompts.tokens({"messages": answered}) == prompts.conversation(turns)


def test_without_a_chat_template_a_prompt_is_a_question(tokenizer: Any) -> None:
    data = DataArguments(sources=[ASKED], chat_template="none")
    prompts = Prompts(data, tokenizer)
    assert not prompts.takes_conversations
    assert tokenizer.decode(prompts.tokens({"input": "a cat"})) == "Q: a cat"


def test_a_plain_text_is_continued(tokenizer: Any) -> None:
    tokens = Prompts(DataArguments(), tokenizer).tokens({"text": "the old house"})
    assert tokens == tokenizer("the old house")["input_ids"]


def test_what_the_template_does_not_take_is_said(tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}"
        "{% endif %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    prompts = Prompts(DataArguments(), tokenizer)
    with pytest.raises(NotRendered, match="no tools"):
        prompts.conversation([{"role": "tool", "content": "x"}])


def test_sources_with_formats_of_their_own_are_chosen_from(tokenizer: Any) -> None:
    data = DataArguments(sources=[ASKED, TOLD], chat_template="none")
    with pytest.raises(ConfigError, match="name one of asked, told"):
        Prompts(data, tokenizer)
    chosen = Prompts(data, tokenizer, source="told")
    assert tokenizer.decode(chosen.tokens({"input": "x"})) == "Tell: x"
    with pytest.raises(ConfigError, match=r"no source 'tol'.*told"):
        Prompts(data, tokenizer, source="tol")
