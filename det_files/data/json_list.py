"""The values of one JSON list, decoded one by one: a list as a whole may not fit in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

_CHUNK = 1 << 20  # characters read at once


def list_items(stream: TextIO) -> Iterator[tuple[int, Any, str]]:
    """Yields (number from 1, value, "") of each; where the text is no list, (number, None, why).

    Number 0 stands for the text as a whole.
    """
    text, number = _JsonText(stream), 0
    if text.take() != "[":
        yield 0, None, "expected a list of objects"
        return
    if text.peek() == "]":
        return
    while True:
        number += 1
        try:
            value = text.value()
        except (json.JSONDecodeError, RecursionError) as error:
            yield number, None, f"no JSON: {getattr(error, 'msg', 'nested too deeply')}"
            return
        yield number, value, ""
        mark = text.take()
        if mark != ",":
            if mark != "]" or text.peek():
                yield number, None, "no JSON: expected a comma or the list's end behind it"
            return


class _JsonText:
    """A text of JSON that is read as far as it is needed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no blank; "" at the end."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._at += 1
            if not self._read():
                return ""

    def take(self) -> str:
        """The same character, passed over."""
        found = self.peek()
        self._at += len(found)
        return found

    def value(self) -> Any:
        """The next value. Raises JSONDecodeError where none stands there."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._is_cut_off(error) or not self._read():
                    raise
            else:
                if end < len(self._text) or not self._read():
                    self._at = end
                    return value

    def _is_cut_off(self, error: json.JSONDecodeError) -> bool:
        # At the end of what was read: within a literal, a number or an escape.
        return error.msg.startswith("Unterminated") or error.pos >= len(self._text) - 16

    def _read(self) -> bool:
        # At least as much again as there is: a long value is not decoded over and over.
        more = self._stream.read(max(_CHUNK, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
