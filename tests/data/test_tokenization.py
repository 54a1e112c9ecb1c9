"""Tokens and label masks: what is learned is the answer and its end, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from det_files.data.arguments import DataArguments
from det_files.data.sources import Row
from det_files.data.templates import Template
from det_files.data.tokenization import (
    IGNORED,
    CutCounts,
    cut,
    describe,
    encode_continuation,
    encode_prompt,
    tokenize_rows,
)
from det_files.faults import ConfigError

ANSWERS = ["green house", " leads with a space", "\n\nlines\n", "東京は晴れ 😀👍🏽", "é̀ ", ""]


@pytest.fixture
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def sentencepiece_like() -> PreTrainedTokenizerFast:
    """A BPE tokenizer that puts a space before every text and an opening token, as Llama 2's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    raw.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    raw.train_from_iterator(["the green house\nand the red house", "a river near\nme"] * 9, trainer)
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def tokenize(
    rows: list[Row],
    tokenizer: PreTrainedTokenizerBase,
    positions: int | None = None,
    **more: object,
) -> tuple[list[dict[str, list[int]]], CutCounts, Template]:
    args = DataArguments(**more)  # type: ignore[arg-type]
    template = Template.of(args, tokenizer)
    found = tokenize_rows(rows, args, template, positions)
    return found.examples, found.cut, template


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
    (example,), _, template = tokenize(
        [{"input": question, "output": answer}],
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
    (example,), _, _ = tokenize([row], tokenizer, chat_template="none")
    assert example["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer.decode(supervised(example)) == "cat<|im_end|>"


def test_a_continuation_gets_no_leading_space(sentencepiece_like: PreTrainedTokenizerFast) -> None:
    alone = sentencepiece_like("green house", add_special_tokens=False)["input_ids"]
    assert sentencepiece_like.convert_ids_to_tokens(alone)[0].startswith("▁")  # what is avoided
    ids = encode_continuation("green house", sentencepiece_like)
    tokens = sentencepiece_like.convert_ids_to_tokens(ids)
    assert "".join(tokens) == "green▁house"
    row = {"input": "the", "output": "green house"}
    (example,), _, _ = tokenize([row], sentencepiece_like, input_format="__input__\n")
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


def test_cuts_are_counted_on_each_side(tokenizer: PreTrainedTokenizerBase) -> None:
    long, short = "green house " * 20, "cat"
    rows = [
        {"input": long, "output": short},
        {"input": short, "output": long},
        {"input": long, "output": long},
        {"input": short, "output": short},
        {"input": long, "output": short},
    ]
    examples, counts, template = tokenize(rows, tokenizer, max_input_tokens=6, max_output_tokens=5)
    assert counts == CutCounts(inputs=3, outputs=2)
    assert [len(supervised(example)) for example in examples][1:3] == [6, 6]  # 5 and the end
    assert supervised(examples[2])[-1] == template.end_token_id


def test_text_becomes_blocks_that_learn_all_but_their_first_token(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    documents = ["one two three", "東京 😀", "four"]
    examples, _, _ = tokenize([{"text": text} for text in documents], tokenizer, block_size=8)
    assert {len(example["input_ids"]) for example in examples[:-1]} == {8}
    for example in examples:
        assert example["labels"] == [IGNORED, *example["input_ids"][1:]]
    stream = [token for example in examples for token in example["input_ids"]]
    assert tokenizer.decode(stream) == "".join(f"{text}<|im_end|>" for text in documents)


def test_a_block_of_one_token_is_left_out(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("one two three", add_special_tokens=False)["input_ids"]
    examples, _, _ = tokenize([{"text": "one two three"}], tokenizer, block_size=len(ids))
    assert [example["input_ids"] for example in examples] == [ids]  # the end token stood alone


def test_rows_longer_than_the_models_positions_are_refused(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    rows = [{"input": "cat", "output": "dog " * n} for n in (1, 30, 90, 60)]
    lengths = [len(e["input_ids"]) for e in tokenize(rows, tokenizer)[0]]
    tokenize(rows, tokenizer, positions=max(lengths))
    with pytest.raises(ConfigError) as error:
        tokenize(rows, tokenizer, positions=max(lengths) - 1)
    assert f"1 rows are longer than the model's {max(lengths) - 1} positions" in str(error.value)
    assert f"the first is row 3, the longest has {max(lengths)} tokens" in str(error.value)


def test_the_description_counts(tokenizer: PreTrainedTokenizerBase) -> None:
    args = DataArguments(max_output_tokens=1, chat_template="none")
    rows: list[Row] = [{"input": "cat", "output": "dog dog"}, {"input": "cat", "output": ""}]
    tokenized = tokenize_rows(rows, args, Template.of(args, tokenizer), None)
    prompt = len(tokenizer("cat")["input_ids"])
    assert describe("train", tokenized) == {
        "split": "train",
        "rows": 2,
        "tokens": 2 * prompt + 2 + 1,
        "longest": prompt + 2,
        "supervised_tokens": 3,
        "inputs_cut": 0,
        "outputs_cut": 1,
    }
