"""Tokens and label masks: what the model reads, and what of it is learned.

Shapes: a row becomes `input_ids` and `labels`, both lists of S integers; a label is -100 where
nothing is learned. The model shifts labels itself, so position 0 is never a target.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from det_files.data.arguments import DataArguments
from det_files.data.sources import Row
from det_files.data.templates import Template
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

IGNORED = -100
SECTION = "hyperparameters.data_arguments"
Example = dict[str, list[int]]


@dataclass(frozen=True)
class CutCounts:
    """How many rows were shortened on each side."""

    inputs: int = 0
    outputs: int = 0


@dataclass(frozen=True)
class Tokenized:
    """Examples of one split and how many of its rows were cut."""

    examples: list[Example]
    cut: CutCounts


def tokenize_rows(
    rows: Sequence[Row], args: DataArguments, template: Template, max_positions: int | None
) -> Tokenized:
    """Tokenizes question-answer rows, or plain text into blocks, whichever the rows are.

    Args:
        rows: all of one kind.
        args: limits, in tokens.
        template: how a row becomes text.
        max_positions: tokens that the model has positions for; None where it has no limit.

    Raises:
        ConfigError: an example is longer than the model's positions.
    """
    if rows and "text" in rows[0]:
        blocks = tokenize_text(rows, args.block_size, template.tokenizer)
        tokenized = Tokenized(blocks, CutCounts())
    else:
        tokenized = tokenize_pairs(rows, args, template)
    _check_lengths(tokenized.examples, max_positions)
    return tokenized


def tokenize_pairs(rows: Sequence[Row], args: DataArguments, template: Template) -> Tokenized:
    """Prompt (not learned) + answer + end token (both learned), for each row."""
    examples = []
    cut_inputs = cut_outputs = 0
    for row in rows:
        question, was_cut = cut(row["input"], args.max_input_tokens, template.tokenizer)
        cut_inputs += was_cut
        answer, was_cut = cut(row.get("output", ""), args.max_output_tokens, template.tokenizer)
        cut_outputs += was_cut
        examples.append(encode_pair(question, answer, template))
    return Tokenized(examples, CutCounts(cut_inputs, cut_outputs))


def encode_pair(question: str, answer: str, template: Template) -> Example:
    """One example; labels are the answer's tokens and its end token, which is always learned."""
    prompt = encode_prompt(question, template)
    learned = encode_continuation(template.render_answer(answer), template.tokenizer)
    learned.append(template.end_token_id)
    return {"input_ids": prompt + learned, "labels": [IGNORED] * len(prompt) + learned}


def encode_prompt(question: str, template: Template) -> list[int]:
    """Tokens of a prompt, as in training and in generation; never empty.

    A chat template writes its own special tokens; otherwise the tokenizer adds what opens a text
    (and not what ends one, as T5's does).
    """
    tokenizer = template.tokenizer
    text = template.render_prompt(question)
    ids = list(tokenizer(text, add_special_tokens=not template.chat)["input_ids"])
    while not template.chat and ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    # The first label has nothing to be predicted from otherwise.
    return ids or [_opening_token(tokenizer)]


def _opening_token(tokenizer: PreTrainedTokenizerBase) -> int:
    bos = tokenizer.bos_token_id
    return int(bos if bos is not None else tokenizer.eos_token_id)


def encode_continuation(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of text that follows other text.

    Tokenizers in SentencePiece's manner put a space before a text that stands alone, which would
    teach answers that begin with one; so the text is tokenized behind a line break, whose tokens
    are then taken off.
    """
    anchor = "\n"
    lead = tokenizer(anchor, add_special_tokens=False)["input_ids"]
    whole = tokenizer(anchor + text, add_special_tokens=False)["input_ids"]
    if whole[: len(lead)] == lead:
        return list(whole[len(lead) :])
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def cut(text: str, limit: int, tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """(text of at most `limit` tokens, whether anything was cut off its end).

    The cut is made in the text, at a token's end, so that no character is broken.
    """
    if len(text.encode("utf-8")) < limit:  # no token is shorter than a byte (one may open a text)
        return text, False
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets: list[tuple[int, int]] = encoded["offset_mapping"]
    if len(offsets) <= limit:
        return text, False
    # Byte-level tokens of one character all have its offsets: where the limit falls between them,
    # the character goes as a whole.
    return text[: min(offsets[limit - 1][1], offsets[limit][0])], True


def tokenize_text(
    rows: Sequence[Row], block_size: int, tokenizer: PreTrainedTokenizerBase
) -> list[Example]:
    """Documents joined by end-of-text and cut into blocks of `block_size`; the last is shorter.

    Every token but a block's first is learned.
    """
    stream: list[int] = []
    for row in rows:
        stream += tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        stream.append(int(tokenizer.eos_token_id))
    blocks = [stream[i : i + block_size] for i in range(0, len(stream), block_size)]
    return [
        {"input_ids": block, "labels": [IGNORED, *block[1:]]} for block in blocks if len(block) > 1
    ]


def _check_lengths(examples: Sequence[Example], max_positions: int | None) -> None:
    if max_positions is None:
        return
    lengths = [len(example["input_ids"]) for example in examples]
    over = [length for length in lengths if length > max_positions]
    if over:
        first = next(i for i, length in enumerate(lengths) if length > max_positions)
        raise ConfigError(
            Fault(
                SECTION,
                f"{len(over)} rows are longer than the model's {max_positions} positions (the "
                f"first is row {first + 1}, the longest has {max(over)} tokens): lower "
                "max_input_tokens, max_output_tokens or block_size",
            )
        )


def describe(split: str, tokenized: Tokenized) -> dict[str, Any]:
    """Counts of one split for the log: rows, tokens, supervised tokens, rows that were cut."""
    lengths = [len(example["input_ids"]) for example in tokenized.examples]
    supervised = sum(
        sum(label != IGNORED for label in example["labels"][1:]) for example in tokenized.examples
    )
    return {
        "split": split,
        "rows": len(lengths),
        "tokens": sum(lengths),
        "longest": max(lengths, default=0),
        "supervised_tokens": supervised,
        "inputs_cut": tokenized.cut.inputs,
        "outputs_cut": tokenized.cut.outputs,
    }
