"""Who answers: the fine-tuned model of a checkpoint and the base model that it started from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from det_files.chatting.conversation import Turn

BASE, TUNED = "base", "tuned"
MODELS = (BASE, TUNED)


class CannotAnswer(Exception):
    """Messages that get no answer; its text says why. The conversation goes on without them."""


class Talker(Protocol):
    """All that a console or a page needs to know of models.

    `keeps_history` says whether answers depend on what was said before the last message.
    """

    keeps_history: bool

    def fit(self, messages: Sequence[Turn]) -> tuple[list[Turn], int]:
        """(what the model will read of messages, how many of the oldest do not fit).

        Raises:
            CannotAnswer: the last message does not fit, or the chat template refuses the turns.
        """
        ...

    def stream(self, messages: Sequence[Turn], which: str) -> Iterator[str]:
        """Yields the answer of the base or the tuned model in pieces; closing it stops the model.

        Raises:
            CannotAnswer: the model cannot be had, or its memory does not suffice.
        """
        ...
