"""Templates: the prompt, the answer and the token that ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from det_files.data.arguments import DataArguments
from det_files.data.templates import Template
from det_files.faults import ConfigError
from tiny import CHAT_TEMPLATE


@pytest.fixture
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


def test_plain_text_is_the_formats_filled_in(tokenizer: PreTrainedTokenizerBase) -> None:
    args = DataArguments(
        input_format="Q: __input__\nA: ", output_format="<__output__>", chat_template="none"
    )
    template = Template.of(args, tokenizer)
    assert template.render_prompt("__output__ \\1 {x}") == "Q: __output__ \\1 {x}\nA: "
    assert template.render_answer("__input__") == "<__input__>"
    assert template.end_token_id == tokenizer.eos_token_id


def test_a_chat_prompt_ends_with_the_assistants_header(tokenizer: PreTrainedTokenizerBase) -> None:
    template = Template.of(DataArguments(input_format="Say: __input__"), tokenizer)
    assert template.chat
    assert template.render_prompt("hi") == (
        "<|im_start|>user\nSay: hi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.render_answer("hello") == "hello"


def test_a_tokenizer_without_chat_template_is_plain(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = None
    template = Template.of(DataArguments(), tokenizer)
    assert not template.chat
    assert template.render_prompt("hi") == "hi"


@pytest.mark.parametrize(
    ("behind", "end"),
    [
        ("<|im_end|>\n", "<|im_end|>"),
        ("\n<|endoftext|>", "<|endoftext|>"),
        ("\n", "<|pad|>"),  # no special token behind the answer: end-of-text, here made <|pad|>
        (" the end", "<|pad|>"),
    ],
)
def test_the_end_of_turn_is_read_off_the_chat_template(
    behind: str, end: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.eos_token = "<|pad|>"
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
        + ("{% if m['role'] == 'assistant' %}" + behind + "{% else %}\n{% endif %}{% endfor %}")
        + "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    template = Template.of(DataArguments(), tokenizer)
    assert template.end_token_id == tokenizer.convert_tokens_to_ids(end)


def test_the_prompt_is_what_stands_before_an_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    # As Qwen3's, whose generation prompt lacks the empty thought that answers stand behind.
    tokenizer.chat_template = CHAT_TEMPLATE.replace(
        "{{ message['content'] }}",
        "{% if message['role'] == 'assistant' %}<think></think>{% endif %}{{ message['content'] }}",
    )
    template = Template.of(DataArguments(), tokenizer)
    assert template.render_prompt("__answer__").endswith(
        "__answer__<|im_end|>\n<|im_start|>assistant\n<think></think>"
    )
    assert template.end_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_a_chat_template_that_drops_answers_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    with pytest.raises(ConfigError, match="does not render an assistant's answer"):
        Template.of(DataArguments(), tokenizer)
    assert not Template.of(DataArguments(chat_template="none"), tokenizer).chat
