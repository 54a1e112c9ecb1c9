"""Rows encoded in batches: the tokens of one row at a time, to the last one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.encoding import EncodedRow, RowEncoder
from det_files.data.rows import Row
from det_files.data.templates import Template
from det_files.data.tokenization import IGNORED, cut, encode_pair, encode_prompt
from tiny import CHAT_TEMPLATE

ROOT = Path(__file__).resolve().parents[2]
SMOLLM2 = ROOT / "models" / "smollm2-135m-instruct"
# As Qwen3's: the last answer stands behind a thought, earlier ones do not.
THINKING = CHAT_TEMPLATE.replace(
    "{{ message['content'] }}",
    "{% if loop.last and message['role'] == 'assistant' %}<think></think>\n{% endif %}"
    "{{ message['content'] }}",
)
WORDS = "the green house 東京 😀 \n\n a  river, near me"


def made_rows() -> list[Row]:
    contents = [WORDS[:n] * (1 + n % 3) for n in range(len(WORDS))] + [" ", "\n", ""]
    return [
        {"input": question, "output": answer}
        for question, answer in zip(contents, reversed(contents), strict=True)
    ]


def encoder(
    tokenizer: PreTrainedTokenizerBase, **more: Any
) -> tuple[RowEncoder, Template, DataArguments]:
    args = DataArguments(**{"sources": [SourceArguments(path="x")], **more})
    template = Template.of(args, tokenizer)
    return RowEncoder(args.settled_sources()[0], template), template, args


def labels(row: EncodedRow) -> list[int]:
    return [t if known else IGNORED for t, known in zip(row.tokens, row.learned, strict=True)]


def check_against_single_rows(
    rows: list[Row], tokenizer: PreTrainedTokenizerBase, **more: Any
) -> None:
    """Compares a batch with encode_pair, row by row."""
    encode, template, args = encoder(tokenizer, **more)
    for row, found in zip(rows, encode.encode(rows), strict=True):
        question, input_cut = cut(row["input"], args.max_input_tokens, tokenizer)
        answer, output_cut = cut(row["output"], args.max_output_tokens, tokenizer)
        expected = encode_pair(question, answer, template)
        assert found.tokens == expected["input_ids"]
        assert labels(found) == expected["labels"]
        assert (found.input_cut, found.output_cut) == (input_cut, output_cut)


@pytest.mark.parametrize("chat_template", ["auto", "none"])
@pytest.mark.parametrize("limit", [3, 1024])
def test_a_batch_has_the_tokens_of_its_rows(
    chat_template: str, limit: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    check_against_single_rows(
        made_rows(),
        tokenizer,
        chat_template=chat_template,
        max_input_tokens=limit,
        max_output_tokens=limit,
        input_format="Q: __input__\n" if limit == 3 else "__input__",
    )


@pytest.mark.parametrize("limit", [3, 1024])
def test_a_batch_of_a_tokenizer_in_sentencepieces_manner(
    limit: int, sentencepiece_like: PreTrainedTokenizerFast
) -> None:
    limits = {"max_input_tokens": limit, "max_output_tokens": limit}
    check_against_single_rows(made_rows(), sentencepiece_like, **limits)


def read(directory: Path) -> list[Row]:
    return [json.loads(line) for path in directory.glob("*/*.jsonl") for line in path.open()]


def smollm2() -> PreTrainedTokenizerBase:
    if not SMOLLM2.is_dir():
        pytest.skip(f"{SMOLLM2} is not here: make setup")
    return AutoTokenizer.from_pretrained(SMOLLM2)


def test_the_quickstarts_rows() -> None:
    rows = read(ROOT / "data" / "quickstart")
    check_against_single_rows(rows, smollm2(), input_format="Write it as JSON.\n__input__")


def test_gsm8k(shared: Path) -> None:
    directory = shared / "data" / "gsm8k"
    if not directory.is_dir():
        pytest.skip(f"{directory} is not here")
    tokenizer = smollm2()
    rows = read(directory)[::7]  # a row at a time is slow
    check_against_single_rows(rows, tokenizer)
    check_against_single_rows(rows[:200], tokenizer, max_input_tokens=20, max_output_tokens=20)


def conversation(*contents: str, system: str | None = None) -> Row:
    turns = [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant") * 9, contents, strict=False)
    ]
    return {"messages": [*([{"role": "system", "content": system}] if system else []), *turns]}


@pytest.mark.parametrize("text", [CHAT_TEMPLATE, THINKING])
@pytest.mark.parametrize("limit", [3, 1024])
def test_a_pair_is_the_conversation_of_its_two_messages(
    text: str, limit: int, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = text
    pairs = made_rows()
    limits = {"max_input_tokens": limit, "max_output_tokens": limit}
    encode, *_ = encoder(tokenizer, **limits)
    conversations = [conversation(row["input"], row["output"]) for row in pairs]
    assert encode.encode(conversations) == encode.encode(pairs)


@pytest.mark.parametrize("text", [CHAT_TEMPLATE, THINKING])
def test_every_answer_and_its_end_is_learned_and_nothing_else(
    text: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = text
    encode, template, _ = encoder(
        tokenizer, input_format="Q: __input__", output_format="A: __output__"
    )
    row = conversation("one", " two", "three 東", "four", "five", "\nsix", system="be brief")
    (found,) = encode.encode([row])
    learned = [t for t, known in zip(found.tokens, found.learned, strict=True) if known]
    assert tokenizer.decode(learned) == " two<|im_end|>four<|im_end|>\nsix<|im_end|>"
    # All of it together is what the chat template renders, but for what follows the last end.
    rendered = str(tokenizer.apply_chat_template(row["messages"], tokenize=False))
    assert tokenizer.decode(found.tokens) == rendered.removesuffix("\n")
    assert found.learned[-1]
    assert found.tokens[-1] == template.end_token_id


def test_the_prompt_of_each_turn_is_what_generation_sees(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    encode, *_ = encoder(tokenizer)
    messages = conversation("one", "two", "three", "four", system="be brief")["messages"]
    (found,) = encode.encode([{"messages": messages}])
    for count in (2, 4):
        asked = str(
            tokenizer.apply_chat_template(
                messages[:count], tokenize=False, add_generation_prompt=True
            )
        )
        ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
        assert found.tokens[: len(ids)] == ids
        assert not found.learned[len(ids) - 1]
        assert found.learned[len(ids)]


def test_an_end_that_the_template_does_not_write_stands_between_turns(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    )
    encode, *_ = encoder(tokenizer)
    (found,) = encode.encode([conversation("one", "two", "three", "four")])
    assert tokenizer.decode(found.tokens) == (
        "user: one\nassistant: two<|im_end|>\nuser: three\nassistant: four<|im_end|>"
    )


def test_a_row_that_the_template_refuses_leaves_the_others_alone(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = (
        "{% if messages|length > 3 %}{{ raise_exception('too many') }}{% endif %}" + CHAT_TEMPLATE
    )
    encode, *_ = encoder(tokenizer)
    rows = [conversation("a", "b"), conversation("a", "b", "c", "d"), conversation("e", "f")]
    found = encode.encode(rows)
    assert found[1].problem == "the chat template refuses it: too many"
    assert not found[1].tokens
    assert [found[0], found[2]] == encode.encode([rows[0], rows[2]])


def test_the_prompt_for_evaluation_is_that_of_training(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = THINKING
    encode, template, _ = encoder(tokenizer)
    pair = {"input": "one", "output": "two"}
    assert encode.prompt(pair) == encode_prompt("one", template)
    row = conversation("one", "two", "three", "four")
    (whole,) = encode.encode([row])
    prompt = encode.prompt(row)
    assert whole.tokens[: len(prompt)] == prompt
    assert whole.learned[len(prompt) :] == [True] * (len(whole.tokens) - len(prompt))
    assert encode.prompt(conversation("one", "two", "three")) == prompt
