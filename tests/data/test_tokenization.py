"""Tokens and label masks: what is learned is the answer and its end, to the byte."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from det_files.data.arguments import DataArguments
from det_files.data.rows import Row
from det_files.data.templates import Template
from det_files.data.tokenization import (
    IGNORED,
    cut,
    encode_continuation,
    encode_pair,
    encode_prompt,
)

ANSWERS = ["green house", " leads with a space", "\n\nlines\n", "東京は晴れ 😀👍🏽", "é̀ ", ""]


def encode(
    row: Row, tokenizer: PreTrainedTokenizerBase, **more: object
) -> tuple[dict[str, list[int]], Template]:
    template = Template.of(DataArguments(**more), tokenizer)  # type: ignore[arg-type]
    return encode_pair(row["input"], row["output"], template), template


def supervised(example: dict[str, list[int]]) -> list[int]:
    """Learned tokens; they must be the input's own at their places."""
    pairs = list(zip(example["input_ids"], example["labels"], strict=True))
    assert all(label in (IGNORED, token) for token, label in pairs)
    return [label for _, label in pairs if label != IGNORED]


@pytest.mark.parametrize("pad", ["<|pad|>", "<|im_end|>"])
@pytest.mark.parametrize("chat_template", ["auto", "none"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_answer_and_its_end_are_learned_exactly(
    answer: str, chat_template: str, pad: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.pad_token = pad  # also where padding is the end token, as for many models
    question = "東京 😀?"
    example, template = encode(
        {"input": question, "output": answer},
        tokenizer,
        chat_template=chat_template,
        input_format="Q: __input__\n",
        output_format="__output__.",
    )
    learned = supervised(example)
    assert tokenizer.decode(learned) == f"{answer}.<|im_end|>"
    assert learned[-1] == template.end_token_id
    # What stands before it is the prompt that generation begins with.
    prompt = encode_prompt(question, template)
    assert example["input_ids"] == prompt + learned
    assert tokenizer.decode(prompt) == template.render_prompt(question)


def test_an_empty_prompt_still_gives_the_first_label_something_to_stand_on(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    row = {"input": "", "output": "cat"}
    example, _ = encode(row, tokenizer, chat_template="none")
    assert example["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer.decode(supervised(example)) == "cat<|im_end|>"


def test_a_continuation_gets_no_leading_space(sentencepiece_like: PreTrainedTokenizerFast) -> None:
    alone = sentencepiece_like("green house", add_special_tokens=False)["input_ids"]
    assert sentencepiece_like.convert_ids_to_tokens(alone)[0].startswith("▁")  # what is avoided
    ids = encode_continuation("green house", sentencepiece_like)
    tokens = sentencepiece_like.convert_ids_to_tokens(ids)
    assert "".join(tokens) == "green▁house"
    row = {"input": "the", "output": "green house"}
    example, _ = encode(row, sentencepiece_like, input_format="__input__\n")
    assert example["input_ids"][0] == sentencepiece_like.bos_token_id  # the prompt's, once
    assert example["input_ids"].count(sentencepiece_like.bos_token_id) == 1
    assert sentencepiece_like.decode(example["input_ids"]) == "<s> the\ngreen house</s>"


def test_an_end_token_that_the_tokenizer_adds_is_not_part_of_the_prompt(
    sentencepiece_like: PreTrainedTokenizerFast,
) -> None:
    from tokenizers.processors import TemplateProcessing

    before = sentencepiece_like.backend_tokenizer.post_processor
    sentencepiece_like.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    try:
        template = Template.of(DataArguments(), sentencepiece_like)
        assert encode_prompt("the", template)[-1] != sentencepiece_like.eos_token_id
    finally:
        sentencepiece_like.backend_tokenizer.post_processor = before


@pytest.mark.parametrize("text", ["one two three four", "東京は晴れ", "a😀b👍🏽c", "é̀x"])
def test_a_cut_keeps_to_the_limit_and_breaks_no_character(
    text: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    whole = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    for limit in range(1, whole + 2):
        kept, was_cut = cut(text, limit, tokenizer)
        ids = tokenizer(kept, add_special_tokens=False)["input_ids"]
        assert text.startswith(kept)
        assert len(ids) <= limit
        assert was_cut == (kept != text) == (limit < whole)
        assert tokenizer.decode(ids) == kept
        # No more than one character's tokens were given up.
        assert len(ids) > limit - 4 or not was_cut
