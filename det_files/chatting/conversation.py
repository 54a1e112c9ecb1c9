"""A conversation: the system prompt and the turns so far.

Messages are `{"role", "content"}`, as in rows. An answer that was stopped carries `"stopped": true`
besides, which neither a chat template nor training reads.
"""

from __future__ import annotations

from typing import Any

from det_files.data.conversations import ASSISTANT

Turn = dict[str, Any]
SYSTEM, USER = "system", "user"


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
