"""Prompts as batches: which go together, and how they are filled up to one length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


def longest_first(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The prompts' numbers, the longest first: memory that does not suffice shows at once."""
    return sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all prompts begin with, at least one token of each left out; of one prompt nothing."""
    if len(prompts) < 2:
        return []
    first, last = min(map(list, prompts)), max(map(list, prompts))  # what these share, all do
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return [token for token, _ in same][: min(map(len, prompts)) - 1]


def batches_by_length(
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    equal: Callable[[int], bool] = lambda length: False,
) -> Iterator[list[int]]:
    """Yields the prompts' numbers in batches of like length, the longest first.

    Prompts of a length that `equal` is true of are with their equals alone.
    """

    def kind(number: int) -> int:
        length = len(prompts[number])
        return length if equal(length) else 0

    groups = groupby(longest_first(prompts), kind)
    for group in (list(numbers) for _, numbers in groups):
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def pad(prompts: Sequence[Sequence[int]], pad_id: int, left: bool) -> dict[str, torch.Tensor]:
    """Returns input_ids and attention_mask [B, S], padded before or behind the prompts."""
    import torch

    length = max(map(len, prompts))
    rows = []
    for prompt in prompts:
        padding = [(pad_id, 0)] * (length - len(prompt))
        tokens = [(token, 1) for token in prompt]
        rows.append(padding + tokens if left else tokens + padding)
    ids, mask = torch.tensor(rows).unbind(-1)
    return {"input_ids": ids.contiguous(), "attention_mask": mask.contiguous()}


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The padding token's id; any will do where there is none, since the mask hides it."""
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
