"""Chatting in a terminal, or by a script on a pipe: a line is a message or a command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper

from det_files.chatting.commands import BadCommand, Command, read_line, render_help
from det_files.chatting.conversation import Conversation, Turn
from det_files.chatting.saving import CannotSave, save
from det_files.chatting.screen import TITLES, Screen, Shown, Turns
from det_files.chatting.talker import CannotAnswer, Talker, in_turns
from det_files.data.rows import half_character
from det_files.faults import did_you_mean
from det_files.trained.model import MODELS, TUNED

PROMPT = "you> "
INTERRUPTED = 130  # what shells say of a program that Ctrl-C has ended


class Console:
    """One chat, from its first line to its last."""

    def __init__(
        self, talker: Talker, conversation: Conversation, which: str = TUNED, about: str = ""
    ) -> None:
        """`which` model answers until /model says otherwise; `about` says what was loaded."""
        self._talker = talker
        self._conversation = conversation
        self._which = which
        self._about = about
        self._screen = Screen()
        self._interactive = sys.stdin.isatty()
        if isinstance(sys.stdin, TextIOWrapper):  # a line that is no text must not end the others
            sys.stdin.reconfigure(errors="surrogateescape")
        self._compare_next = False
        self._line = 0
        self._failed = False  # some line got no answer
        self._stopped = False  # the last answer was
        self._commands = {
            "reset": self._reset,
            "system": self._system,
            "save": self._save,
            "model": self._model,
            "compare": self._compare,
            "help": lambda _: self._screen.note(render_help()),
        }

    def run(self) -> int:
        """Reads and answers until the end; returns the exit code.

        0; in a script 1 where a line got no answer, and 130 where Ctrl-C has ended it.
        """
        self._greet()
        interrupted = False
        while True:
            try:
                line = self._read()
                interrupted = False
                if line is None or not self._take(line):
                    return int(self._failed and not self._interactive)
                if self._stopped and not self._interactive:
                    return INTERRUPTED
            except KeyboardInterrupt:
                if not self._interactive:
                    return INTERRUPTED
                self._screen.note("")
                if interrupted:
                    return 0
                interrupted = True
                self._screen.note("(Ctrl-C again, or Ctrl-D, ends; /help names the commands)")

    def _greet(self) -> None:
        if self._about:
            self._screen.note(self._about)
        if not self._talker.keeps_history:
            self._screen.note(
                "This model was trained on single prompts, without a chat template: each message "
                "is one,\nin the format of training, and what was said before it is not read."
            )
        if self._interactive:
            self._screen.note("/help names the commands; Ctrl-C stops an answer, Ctrl-D ends.")

    def _read(self) -> str | None:
        """The next line that holds anything; None at the end."""
        while True:
            self._line += 1
            line = _type_line() if self._interactive else sys.stdin.readline() or None
            if line is None:
                return None
            line = line.strip()
            if broken := half_character(line):
                self._fail(f"is not UTF-8 text: {broken}")
            elif line:
                return line

    def _take(self, line: str) -> bool:
        """Does what a line asks for; returns False where that is to end."""
        try:
            meant = read_line(line)
            if not isinstance(meant, Command):
                self._ask(meant, self._compare_next)
            elif meant.name == "quit":
                return False
            else:
                self._commands[meant.name](meant.argument)
        except (BadCommand, CannotAnswer, CannotSave) as error:
            self._fail(str(error))
        return True

    def _ask(self, text: str, compare: bool) -> None:
        """Answers a message, which becomes part of the conversation with its answer."""
        self._conversation.ask(text)
        try:
            messages = self._fit(self._conversation.messages())
            shown = self._answer_both(messages) if compare else self._answer(messages)
        except BaseException:
            self._conversation.take_back()
            raise
        self._conversation.answer(shown.text, shown.stopped)
        self._compare_next = False

    def _answer(self, messages: list[Turn]) -> Shown:
        shown = self._screen.answer(self._turns(messages, [self._which]), self._which)
        self._stopped = shown.stopped
        return shown

    def _answer_both(self, messages: list[Turn]) -> Shown:
        """Shows both models' answers, and returns the current model's."""
        answers = self._screen.answers(self._turns(messages, MODELS))
        self._stopped = any(shown.stopped for shown in answers.values())
        return answers[self._which]

    def _turns(self, messages: list[Turn], models: Sequence[str]) -> Turns:
        streams = {which: self._talker.stream(messages, which) for which in models}
        return in_turns(streams, self._talker)

    def _fit(self, messages: list[Turn]) -> list[Turn]:
        fitting, left_out = self._talker.fit(messages)
        if left_out:
            do = "message does" if left_out == 1 else "messages do"
            self._screen.note(f"(the oldest {left_out} {do} not fit into the model's context)")
        return fitting

    def _reset(self, _: str) -> None:
        self._conversation.reset()
        self._screen.note("(the conversation is empty)")

    def _system(self, text: str) -> None:
        if not self._talker.keeps_history:
            raise BadCommand("this model was trained on single prompts, and reads no system prompt")
        if text:
            self._conversation.system = None if text == "none" else text
        self._screen.note(f"(system prompt: {self._conversation.system or 'none'})")

    def _save(self, argument: str) -> None:
        done = save(self._conversation, argument, as_pairs=not self._talker.keeps_history)
        self._screen.note(f"({done})")

    def _model(self, which: str) -> None:
        if which and which not in MODELS:
            raise BadCommand(f"there is no model {which!r}{did_you_mean(which, MODELS)}")
        self._which = which or self._which
        self._screen.note(f"(the {TITLES[self._which]} model answers)")

    def _compare(self, text: str) -> None:
        messages = self._conversation.until_last_question()
        if messages and not text:
            self._answer_both(self._fit(messages))
            return
        if text:
            self._ask(text, compare=True)
        else:
            self._compare_next = True
            self._screen.note("(both will answer the next message)")

    def _fail(self, why: str) -> None:
        self._failed = True
        self._screen.note(why if self._interactive else f"line {self._line}: {why}")


def _type_line() -> str | None:
    """A line that was typed, with the history of those before; None at the end."""
    with suppress(ImportError):
        import readline  # noqa: F401  # input() then edits and remembers lines
    try:
        return input(PROMPT)
    except EOFError:
        print(file=sys.stderr)
        return None
