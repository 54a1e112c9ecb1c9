"""A conversation as rows of a jsonl file, which training reads."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from det_files.chatting.conversation import Conversation

ADD, REPLACE = "--append", "--overwrite"


class CannotSave(Exception):
    """A conversation is not written; its text says why, and what to do."""


def save(conversation: Conversation, argument: str, as_pairs: bool = False) -> str:
    """Writes a conversation to a file; returns a sentence that says what was done.

    Args:
        conversation: of which no answer is being given.
        argument: `FILE`, `--append FILE` or `--overwrite FILE`.
        as_pairs: each question and its answer as a row `{"input", "output"}`, for models without a
            chat template; else one row `{"messages"}`.

    Raises:
        CannotSave: there is no answer yet, the file exists and neither way is said, or it cannot
            be written.
    """
    how, _, name = argument.partition(" ")
    if how not in (ADD, REPLACE):
        how, name = "", argument
    if not conversation.turns:
        raise CannotSave("there is no answer yet")
    try:
        path = Path(name.strip()).expanduser()
    except RuntimeError as error:  # of a user who is not here
        raise CannotSave(f"{name.strip()}: {error}") from error
    if path.suffix != ".jsonl":
        raise CannotSave(f"{path}: expected a name that ends in .jsonl, as files of rows do")
    rows = pairs_of(conversation) if as_pairs else [{"messages": conversation.messages()}]
    try:
        _write(path, rows, how)
    except FileExistsError as error:
        reason = f"{path} exists: say /save {ADD} FILE or /save {REPLACE} FILE"
        raise CannotSave(reason) from error
    except (OSError, ValueError) as error:  # no name may hold a NUL
        why = getattr(error, "strerror", None) or error
        raise CannotSave(f"{path}: {why}") from error
    stopped = sum("stopped" in turn for turn in conversation.turns)
    return f"saved to {path}" + (f"; {stopped} of its answers stopped early" if stopped else "")


def pairs_of(conversation: Conversation) -> list[dict[str, Any]]:
    """Each question with its answer."""
    texts = [turn["content"] for turn in conversation.turns]
    return [
        {"input": question, "output": answer}
        for question, answer in zip(texts[::2], texts[1::2], strict=True)
    ]


def _write(path: Path, rows: Sequence[dict[str, Any]], how: str) -> None:
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    if how == ADD and _ends_within_a_line(path):
        text = f"\n{text}"
    with path.open({ADD: "a", REPLACE: "w"}.get(how, "x"), encoding="utf-8") as stream:
        stream.write(text)


def _ends_within_a_line(path: Path) -> bool:
    """Whether a row written behind what a file holds would stand in its last line."""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() != b"\n"
