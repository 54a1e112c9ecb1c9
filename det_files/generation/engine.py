"""What gives the answers: transformers, or vLLM (`vllm_engine`), behind the same few names."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

from transformers.utils.logging import disable_progress_bar

from det_files.generation.answers import Answer
from det_files.generation.decoding import decode
from det_files.generation.positions import longest_prompt, positions_of
from det_files.generation.sampling import Sampling
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.model import BASE, TrainedModel, load_base, load_trained


class Engine(Protocol):
    """A model that answers."""

    @property
    def longest_prompt(self) -> int | None:
        """Tokens of the longest prompt behind which there is room for one token; None: any."""

    @property
    def positions(self) -> int | None:
        """Tokens that prompt and answer may have together; None: any, or counted apart."""

    def answers(
        self,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        sampling: Sampling,
        batch_size: int | None,
    ) -> Iterator[Answer]:
        """Yields the answers to prompts as they end; see `decoding.decode`."""


class TransformersEngine:
    """The model on this rank's device."""

    def __init__(self, checkpoint: TrainedCheckpoint, which: str, dtype: str | None) -> None:
        """Loads the `base` or the `tuned` model, in `dtype` or the run's.

        Raises:
            ConfigError: see `load_trained` and `load_base`.
        """
        if not sys.stderr.isatty():  # a bar that cannot be rewritten fills a log
            disable_progress_bar()
        load = load_base if which == BASE else load_trained
        self.trained: TrainedModel = load(checkpoint, dtype)

    @property
    def longest_prompt(self) -> int | None:
        return longest_prompt(self.trained.model)

    @property
    def positions(self) -> int | None:
        model = self.trained.model
        return None if model.config.is_encoder_decoder else positions_of(model)

    def answers(
        self,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        sampling: Sampling,
        batch_size: int | None,
    ) -> Iterator[Answer]:
        model, tokenizer = self.trained.model, self.trained.tokenizer
        return decode(model, tokenizer, prompts, sampling, batch_size=batch_size, numbers=numbers)


def length_when_cut(engine: Engine, wanted: int) -> int | None:
    """Tokens that are kept of a prompt that is too long, so that `wanted` new ones have room.

    At least half of the positions are the prompt's: most of a question is worth more than the end
    of an answer that is seldom so long.
    """
    longest = engine.longest_prompt
    if longest is None or engine.positions is None:
        return longest
    return max(longest + 1 - wanted, -(-engine.positions // 2))
