"""An answer: its tokens, its text, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

STOP, LENGTH = "stop", "length"


@dataclass(frozen=True)
class Answer:
    """What a model answered to one prompt.

    Attributes:
        number: of the prompt.
        sequence: which of the prompt's answers this is, from 0; of beams, the best first.
        token_ids: what was generated, the end token included where there is one (as in vLLM).
        text: the same without end token and special tokens.
        finish_reason: "stop" at an end token; "length" where max_new_tokens or the model's
            positions cut it off.
        num_generated_tokens: length of `token_ids`.
    """

    number: int
    sequence: int
    token_ids: list[int]
    text: str
    finish_reason: str
    num_generated_tokens: int


def make_answer(
    tokenizer: PreTrainedTokenizerBase,
    ends: Sequence[int],
    ids: Sequence[int],
    number: int,
    sequence: int = 0,
) -> Answer:
    """Returns the answer of generated ids; what follows the first end token is padding."""
    text_ids = until_end(ids, ends)
    ended = len(text_ids) < len(ids)
    kept = list(ids[: len(text_ids) + ended])
    text = tokenizer.decode(text_ids, skip_special_tokens=True)
    return Answer(number, sequence, kept, str(text), STOP if ended else LENGTH, len(kept))


def end_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the ids that end an answer: the tokenizer's, and those of the model's own config.

    Chat models often have more than one; a tokenizer names only the first.
    """
    return end_ids_of(model.generation_config, tokenizer)


def end_ids_of(config: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """As `end_ids`, of a model's generation config, which it may lack."""
    own = None if config is None else config.eos_token_id
    ids = set(own) if isinstance(own, list) else {own}
    return sorted(i for i in ids | {tokenizer.eos_token_id} if i is not None)


def until_end(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Returns the ids before the first end token; what follows it is padding."""
    return list(takewhile(lambda i: i not in ends, ids))
