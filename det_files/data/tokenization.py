"""Tokens of single texts: the prompt as generation sees it, the answer that follows it, cuts.

A row becomes `input_ids` and `labels` of S integers each; a label is -100 where nothing is
learned. The model shifts labels itself, so position 0 is never a target. `encoding` does the same
for many rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from det_files.data.templates import Template

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
# "input_ids" and "labels", each a tensor [S] of int64.
Example = dict[str, "torch.Tensor"]
# What a text is tokenized behind where it is to follow other text.
ANCHOR = "\n"


def encode_pair(question: str, answer: str, template: Template) -> dict[str, list[int]]:
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
    text = template.render_prompt(question)
    ids = template.tokenizer(text, add_special_tokens=not template.chat)["input_ids"]
    return opening_of(list(ids), template)


def opening_of(ids: list[int], template: Template) -> list[int]:
    """The tokens of what opens a row, as far as they belong to a prompt; never empty."""
    tokenizer = template.tokenizer
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
    lead = tokenizer(ANCHOR, add_special_tokens=False)["input_ids"]
    whole = tokenizer(ANCHOR + text, add_special_tokens=False)["input_ids"]
    if whole[: len(lead)] == lead:
        return list(whole[len(lead) :])
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def cut(text: str, limit: int, tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """(text of at most `limit` tokens, whether anything was cut off its end).

    The cut is made in the text, at a token's end, so that no character is broken.
    """
    if not may_exceed(text, limit):
        return text, False
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return cut_at(text, limit, encoded["offset_mapping"])


def may_exceed(text: str, limit: int) -> bool:
    """Whether a text can have more than `limit` tokens, as far as its length tells."""
    return len(text.encode("utf-8")) >= limit  # no token is shorter than a byte (one may open it)


def cut_at(text: str, limit: int, offsets: Sequence[tuple[int, int]]) -> tuple[str, bool]:
    """`cut`, where the characters of each token are known."""
    if len(offsets) <= limit:
        return text, False
    # Byte-level tokens of one character all have its offsets: where the limit falls between them,
    # the character goes as a whole.
    return text[: min(offsets[limit - 1][1], offsets[limit][0])], True
