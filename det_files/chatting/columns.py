"""Two texts in columns beside each other, as a terminal shows them: some characters take two."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import zip_longest

GAP = " | "
NARROWEST = 8  # columns of either text


def side_by_side(left: str, right: str, width: int) -> list[str]:
    """Lines of two texts in columns, at most `width` columns wide (and at least 19)."""
    column = max(NARROWEST, (width - len(GAP)) // 2)
    return [
        f"{one}{' ' * (column - columns_of(one))}{GAP}{other}".rstrip()
        for one, other in zip_longest(wrap(left, column), wrap(right, column), fillvalue="")
    ]


def columns_of(text: str) -> int:
    """How many columns a text takes up: East Asian wide characters two, combining ones none."""
    return sum(map(_columns, text))


def wrap(text: str, width: int) -> list[str]:
    """The text's lines, each of at most `width` columns, broken at spaces where there are any."""
    lines = printable(text).expandtabs(4).split("\n")
    return [piece for line in lines for piece in _wrap_line(line, width)]


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor or change its state."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _wrap_line(line: str, width: int) -> Iterator[str]:
    while columns_of(line) > width:
        end = _characters_within(line, width)
        space = line.rfind(" ", 1, end + 1)
        at = space if line[:space].strip() and space > 0 else end
        yield line[:at].rstrip()
        line = line[at:].lstrip()
    yield line


def _characters_within(line: str, width: int) -> int:
    """How many characters of a line that is too wide fit into `width` columns; at least one."""
    taken = 0
    for number, character in enumerate(line):
        taken += _columns(character)
        if taken > width:
            return max(1, number)
    return len(line)
