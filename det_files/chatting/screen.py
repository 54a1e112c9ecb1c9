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
from det_files.chatting.talker import BASE, TUNED
from det_files.local.terminal import Terminal

TITLES = {BASE: "base", TUNED: "fine-tuned"}
DIM, BOLD, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True)
class Shown:
    """An answer as far as it was shown, and whether it was stopped there."""

    text: str = ""
    stopped: bool = True


class Screen:
    """The two output streams of a chat."""

    def __init__(self) -> None:
        self._on_terminal = sys.stdout.isatty()
        self._colours = self._on_terminal and sys.stderr.isatty() and "NO_COLOR" not in os.environ

    def note(self, text: str) -> None:
        """Shows what is no answer."""
        print(f"{DIM}{text}{PLAIN}" if self._colours else text, file=sys.stderr, flush=True)

    def answer(self, which: str, pieces: Iterator[str]) -> Shown:
        """Shows a model's answer piece by piece; Ctrl-C stops it."""
        if self._on_terminal:
            title = f"{TITLES[which]}>"
            print(f"{BOLD}{title}{PLAIN}" if self._colours else title, end=" ", flush=True)
        shown = Shown()
        with Interruption() as interruption:
            for before, shown in _until_stopped(pieces, interruption):
                new = shown.text[len(before.text) :]
                print(printable(new) if self._on_terminal else new, end="", flush=True)
        print(flush=True)
        if shown.stopped or not shown.text:
            self.note("(stopped)" if shown.stopped else "(an empty answer)")
        return shown

    def answers(self, streams: Mapping[str, Iterator[str]]) -> dict[str, Shown]:
        """Shows models' answers to the same, beside each other on a terminal; Ctrl-C stops all."""
        answers = dict.fromkeys(streams, Shown())
        terminal = Terminal(notes=sys.stdout)
        with Interruption() as interruption:
            for which, pieces in streams.items():
                for _, answers[which] in _until_stopped(pieces, interruption):
                    if self._on_terminal:
                        # The end is what moves; the window is all that can be rewritten.
                        lines = _columns(answers, terminal.size[0])[-terminal.size[1] :]
                        terminal.progress_lines(lines)
        if self._on_terminal:
            terminal.note("\n".join(_columns(answers, terminal.size[0])))
        else:
            for which, shown in answers.items():
                print(f"{TITLES[which]}: {shown.text}", flush=True)
        if any(shown.stopped for shown in answers.values()):
            self.note("(stopped)")
        return answers


def _until_stopped(
    pieces: Iterator[str], interruption: Interruption
) -> Iterator[tuple[Shown, Shown]]:
    """Yields an answer (before, after) each piece, and once more when it is complete."""
    shown = Shown()
    with closing(pieces) as answer:  # type: ignore[type-var]  # a generator
        try:
            while not interruption.asked:
                piece = next(answer, None)
                longer = Shown(shown.text, False) if piece is None else Shown(shown.text + piece)
                yield shown, longer
                if piece is None:
                    return
                shown = longer
        except KeyboardInterrupt:
            pass  # asked twice, and it stays stopped


def _columns(answers: Mapping[str, Shown], width: int) -> list[str]:
    return side_by_side(
        *(f"{TITLES[which]}\n{shown.text}" for which, shown in answers.items()), width=width
    )
