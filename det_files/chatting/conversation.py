"""A conversation: the system prompt and the turns so far, and the row that it makes for training.

Messages are `{"role", "content"}`, as in rows. An answer that was stopped carries `"stopped": true`
besides, which neither a chat template nor training reads.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from det_files.data.conversations import ASSISTANT

Turn = dict[str, Any]
SYSTEM, USER = "system", "user"


class CannotSave(Exception):
    """A conversation is not written; its text says why, and what to do."""


class TooLong(Exception):
    """The last message alone has more tokens than the model has room for."""


class Conversation:
    """What was said. It ends with a user's message only while that is being answered."""

    def __init__(self, system: str | None = None) -> None:
        self.system = system
        self.turns: list[Turn] = []

    def ask(self, text: str) -> None:
        """Adds a message of the user's."""
        self.turns.append({"role": USER, "content": text})

    def answer(self, text: str, stopped: bool = False) -> None:
        """Adds the answer to the last message, as far as it was shown.

        A message to which nothing at all was shown before it was stopped is taken back: an empty
        turn would bend all answers that follow.
        """
        if stopped and not text:
            self.take_back()
        else:
            self.turns.append(
                {"role": ASSISTANT, "content": text} | ({"stopped": True} if stopped else {})
            )

    def take_back(self) -> None:
        """Removes the user's last message, which got no answer."""
        del self.turns[-1]

    def reset(self) -> None:
        """Forgets all turns; the system prompt stays."""
        self.turns.clear()

    def messages(self) -> list[Turn]:
        """The system prompt, where there is one, and all turns."""
        opening = [{"role": SYSTEM, "content": self.system}] if self.system else []
        return [*opening, *self.turns]

    def until_last_question(self) -> list[Turn]:
        """`messages` up to the user's last one; none where nothing was asked yet."""
        messages = self.messages()
        while messages and messages[-1]["role"] != USER:
            messages.pop()
        return messages

    def save(self, path: Path, append: bool = False, overwrite: bool = False) -> None:
        """Writes the conversation as one row `{"messages"}` of a jsonl file, which training reads.

        Raises:
            CannotSave: there is no answer yet, the file exists and neither way is said, or it
                cannot be written.
        """
        if not self.turns:
            raise CannotSave("there is no answer yet")
        if path.suffix != ".jsonl":
            raise CannotSave(f"{path}: expected a name that ends in .jsonl, as files of rows do")
        row = json.dumps({"messages": self.messages()}, ensure_ascii=False)
        try:
            opening = "\n" if append and _ends_within_a_line(path) else ""
            with path.open("a" if append else "w" if overwrite else "x", encoding="utf-8") as file:
                file.write(f"{opening}{row}\n")
        except FileExistsError as error:
            reason = f"{path} exists: say /save --append FILE or /save --overwrite FILE"
            raise CannotSave(reason) from error
        except OSError as error:
            raise CannotSave(f"{path}: {error.strerror}") from error


def _ends_within_a_line(path: Path) -> bool:
    """Whether a row written behind what a file holds would stand in its last line."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() != b"\n"


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
