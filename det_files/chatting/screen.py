"""What a chat shows: answers on stdout while they are given, all else on stderr.

Where stdout is no terminal there are no colours, no titles and no columns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from det_files.chatting.columns import printable, side_by_side
from det_files.chatting.interruption import Interruption
from det_files.local.terminal import Terminal
from det_files.trained.model import BASE, TUNED

Turns = Iterator[tuple[str, str | None]]  # see `in_turns`
TITLES = {BASE: "base", TUNED: "fine-tuned"}
DIM, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True)
class Shown:
    """An answer as far as it was shown, and whether it was stopped there."""

    text: str = ""
    stopped: bool = True

    def after(self, piece: str | None) -> Shown:
        """It with one more piece; None completes it."""
        return Shown(self.text, False) if piece is None else Shown(self.text + piece)


class Screen:
    """The two output streams of a chat."""

    def __init__(self) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._colours = self._on_terminal and sys.stderr.isatty() and "NO_COLOR" not in os.environ

    def note(self, text: str) -> None:
        """Shows what is no answer."""
        print(f"{DIM}{text}{PLAIN}" if self._colours else text, file=sys.stderr, flush=True)

    def answer(self, turns: Turns, which: str) -> Shown:
        """Shows a model's answer piece by piece; Ctrl-C stops it."""
        if self._on_terminal:
            title = f"{TITLES[which]}>"
            print(f"{BOLD}{title}{PLAIN}" if self._colours else title, end=" ", flush=True)
        shown = Shown()
        for _, piece in _until_stopped(turns):
            shown = shown.after(piece)
            text = piece or ""
            print(printable(text) if self._on_terminal else text, end="", flush=True)
        print(flush=True)
        self._remark({which: shown})
        return shown

    def answers(self, turns: Turns) -> dict[str, Shown]:
        """Shows both models' answers, beside each other on a terminal; Ctrl-C stops both."""
        answers = dict.fromkeys(TITLES, Shown())
        terminal = Terminal(notes=sys.stdout)
        for which, piece in _until_stopped(turns):
            answers[which] = answers[which].after(piece)
            if self._on_terminal:
                # The end is what moves, and the window is all that can be rewritten.
                lines = _columns(answers, terminal.size[0])[-terminal.size[1] :]
                terminal.progress_lines(lines)
        if self._on_terminal:
            terminal.note("\n".join(_columns(answers, terminal.size[0])))
        else:
            for which, shown in answers.items():
                print(f"{TITLES[which]}: {shown.text}", flush=True)
        self._remark(answers)
        return answers

    def _remark(self, answers: Mapping[str, Shown]) -> None:
        if any(shown.stopped for shown in answers.values()):
            self.note("(stopped)")
        elif not all(shown.text for shown in answers.values()):
            self.note("(an answer of nothing)")


def _until_stopped(turns: Turns) -> Turns:
    """Yields what `turns` does until Ctrl-C, then closes it."""
    with Interruption() as interruption, closing(turns) as pieces:  # type: ignore[type-var]
        try:
            for which, piece in pieces:
                yield which, piece
                if interruption.asked:
                    return
        except KeyboardInterrupt:
            pass  # asked twice


def _columns(answers: Mapping[str, Shown], width: int) -> list[str]:
    left, right = (f"{TITLES[which]}\n{shown.text}" for which, shown in answers.items())
    return side_by_side(left, right, width)
