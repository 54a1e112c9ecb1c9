"""Templates: the prompt, the answer and the token that ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.templates import NotRendered, Template
from det_files.faults import ConfigError
from tiny import CHAT_TEMPLATE


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


def turns(*contents: str) -> list[dict[str, str]]:
    roles = ("system", "user", "assistant", "user", "assistant")
    return [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


def test_a_conversation_is_rendered_once_and_split_at_its_answers(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    # As Qwen3's: only the last answer stands behind a thought.
    tokenizer.chat_template = CHAT_TEMPLATE.replace(
        "{{ message['content'] }}",
        "{% if loop.last %}<think></think>{% endif %}{{ message['content'] }}",
    )
    template = Template.of(DataArguments(), tokenizer)
    around = template.render_around_answers(turns("s", "__answer_0__", "a", "q", "b"))
    assert around == [
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n__answer_0__<|im_end|>\n"
        "<|im_start|>assistant\n",
        "<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think></think>",
        "<|im_end|>\n",
    ]


def test_what_a_template_refuses_is_said_in_its_own_words(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role!') }}"
        "{% endif %}" + CHAT_TEMPLATE
    )
    template = Template.of(DataArguments(), tokenizer)
    with pytest.raises(NotRendered, match="refuses it: No system role!"):
        template.render_around_answers(turns("s", "q", "a"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CHAT_TEMPLATE + "{{ messages[-1]['content'] }}", "more than once"),
        ("{% for m in messages[-1:] %}{{ m['content'] }}<|im_end|>{% endfor %}", r"\(turn 1\)"),
    ],
)
def test_a_template_renders_each_answer_once(
    text: str, reason: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    template = Template("", "", tokenizer, text, 0)
    with pytest.raises(NotRendered, match=reason):
        template.render_around_answers(turns("s", "q", "a", "q", "b"))


def test_a_chat_template_may_be_a_file(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(CHAT_TEMPLATE.replace("im_start", "pad"))
    tokenizer.chat_template = None
    template = Template.of(DataArguments(chat_template=str(path)), tokenizer)
    assert template.render_prompt("x").startswith("<|pad|>user\nx<|im_end|>")
    assert template.end_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    with pytest.raises(ConfigError, match=r"chat_template: .*no\.jinja: No such file"):
        Template.of(DataArguments(chat_template=str(tmp_path / "no.jinja")), tokenizer)


def test_a_source_has_formats_of_its_own(tokenizer: PreTrainedTokenizerBase) -> None:
    args = DataArguments(input_format="A __input__", output_format="=__output__")
    template = Template.of(args, tokenizer, SourceArguments(input_format="B __input__"))
    assert (template.input_format, template.output_format) == ("B __input__", "=__output__")


def test_a_template_that_writes_todays_date_writes_the_same_every_day(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = tmp_path / "dated.jinja"
    path.write_text(
        "Today: {{ strftime_now('%d %b %Y') }}\n"
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    )
    template = Template.of(DataArguments(chat_template=str(path)), tokenizer)
    assert template.render_prompt("x").startswith("Today: 26 Jul 2024\n")
