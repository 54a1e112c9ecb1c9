"""What of a conversation fits into a model's context: the last turns, and the system prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from det_files.chatting.conversation import SYSTEM, USER, Turn


class TooLong(Exception):
    """The last message alone has more tokens than the model has room for."""


def without_oldest(
    messages: Sequence[Turn], count_tokens: Callable[[Sequence[Turn]], int], room: int | None
) -> tuple[list[Turn], int]:
    """(messages that have at most `room` tokens, how many are left out).

    The oldest go first, and whole turns: what remains begins with a user's message, behind the
    system prompt, which is kept.

    Args:
        messages: of which the last one is the user's.
        count_tokens: tokens of the prompt that messages make.
        room: tokens that a prompt may have; None: any number.

    Raises:
        TooLong: the last message and the system prompt do not fit by themselves.
    """
    opening = [m for m in messages[:1] if m["role"] == SYSTEM]
    rest = list(messages[len(opening) :])
    if room is None or count_tokens(messages) <= room:
        return list(messages), 0
    starts = [n for n, message in enumerate(rest) if message["role"] == USER]
    fits = bisect_left(starts, True, key=lambda n: count_tokens([*opening, *rest[n:]]) <= room)
    if fits == len(starts):
        tokens = count_tokens([*opening, *rest[starts[-1] :]])
        whose = "the message and the system prompt have" if opening else "the message has"
        raise TooLong(f"{whose} {tokens} tokens, and there is room for {room}")
    return [*opening, *rest[starts[fits] :]], starts[fits]
