"""A chat on a page: the same messages to both models, each with its own answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from det_files.chatting.conversation import Conversation, Turn
from det_files.chatting.talker import CannotAnswer, Talker, in_turns
from det_files.data.conversations import ASSISTANT
from det_files.trained.model import MODELS

Panes = dict[str, list[Turn]]
STOPPED, NOTHING = "(stopped)", "(nothing)"


class PageChat:
    """What one visitor has said, and what both models have answered.

    Attributes:
        note: what is to be said about the last message; "" for nothing.
    """

    def __init__(self) -> None:
        self.note = ""
        self._stop_asked = False
        self._empty()

    def _empty(self) -> None:
        self.conversations = {which: Conversation() for which in MODELS}
        self._drafts: dict[str, str] = {}  # answers that are being given

    def stop(self) -> None:
        """Asks the answers that are being given to end."""
        self._stop_asked = True

    def clear(self) -> None:
        """Forgets everything, and ends what is being given."""
        self.stop()
        self.note = ""
        self._empty()  # new ones: what is being given still writes to the old

    def panes(self) -> Panes:
        """What each model's pane shows: the turns, and the answer as far as it is given."""
        panes = {which: list(map(_shown, c.turns)) for which, c in self.conversations.items()}
        for which, text in self._drafts.items():
            panes[which].append({"role": ASSISTANT, "content": text or "…"})
        return panes

    def ask(self, talker: Talker, text: str, system: str) -> Iterator[Panes]:
        """Yields what both panes show, after each piece; the models take turns.

        Closing it stops the answers, as `stop` does.
        """
        self._stop_asked, self.note = False, ""
        conversations = self.conversations
        for conversation in conversations.values():
            conversation.system = system.strip() or None
            conversation.ask(text)
        drafts = self._drafts = dict.fromkeys(MODELS, "")
        try:
            yield self.panes()
            streams = {which: self._start(talker, which, c) for which, c in conversations.items()}
            with closing(in_turns(streams, talker)) as turns:  # type: ignore[type-var]
                for which, piece in turns:
                    if piece is None:
                        conversations[which].answer(drafts.pop(which))
                    else:
                        drafts[which] += piece
                    yield self.panes()
                    if self._stop_asked:
                        break
        except CannotAnswer as error:
            self.note = str(error)
        finally:
            for which, draft in drafts.items():
                conversations[which].answer(draft, stopped=True)
            drafts.clear()
        yield self.panes()

    def _start(self, talker: Talker, which: str, conversation: Conversation) -> Iterator[str]:
        messages, left_out = talker.fit(conversation.messages())
        if left_out:
            self.note = f"Of the {which} model's conversation, the oldest messages do not fit."
        return talker.stream(messages, which)


def _shown(turn: Turn) -> Turn:
    text = turn["content"] or NOTHING
    return {"role": turn["role"], "content": f"{text} {STOPPED}" if "stopped" in turn else text}
