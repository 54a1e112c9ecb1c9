"""Who answers: the fine-tuned model of a checkpoint and the base model that it started from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from det_files.chatting.conversation import Turn


class CannotAnswer(Exception):
    """Messages that get no answer; its text says why. The conversation goes on without them."""


class Talker(Protocol):
    """All that a console or a page needs to know of models.

    `keeps_history` says whether answers depend on what was said before the last message,
    `takes_turns` whether both models' answers can be given a piece at a time in turn.
    """

    keeps_history: bool
    takes_turns: bool

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


def in_turns(
    streams: Mapping[str, Iterator[str]], talker: Talker
) -> Iterator[tuple[str, str | None]]:
    """Yields (model, a piece of its answer), and (model, None) where one is complete.

    The models take turns where they can, else one answers behind the other. Closing it, or an
    error, closes all streams.
    """
    rest = list(streams)
    try:
        while rest:
            for which in list(rest) if talker.takes_turns else rest[:1]:
                piece = next(streams[which], None)
                if piece is None:
                    rest.remove(which)
                yield which, piece
    finally:
        for pieces in streams.values():
            pieces.close()  # type: ignore[attr-defined]  # generators
