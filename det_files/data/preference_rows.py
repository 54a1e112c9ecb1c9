"""Rows of preferences: a record as one prompt with its answers, each marked good or bad.

    {"prompt": str, "chosen": str, "rejected": str}         a pair
    {"prompt": str, "completion": str, "label": bool}       one answer, good (true) or not

Answers may be conversations, lists of messages that end with the assistant's answer; what stands
before it is then part of the prompt (and `prompt` may be absent, or come first).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from det_files.data.conversations import ASSISTANT, split_off_answer
from det_files.data.rows import Row, conversation, half_character, lacks
from det_files.data.sources import Split

PAIR = ("prompt", "chosen", "rejected")
LABELLED = ("prompt", "completion", "label")
EQUAL = '"chosen" and "rejected" are the same answer (equal_answers: drop passes over such)'
_LABELS = {True: True, False: False, "true": True, "false": False, "True": True, "False": False}


class Answered(NamedTuple):
    """Prompt and answer, as the data package has rows, and whether the answer is a good one."""

    row: Row
    good: bool


class PlacedAnswers(NamedTuple):
    """What one record gives: two answers of a pair, the chosen one first, or a single answer."""

    place: str
    answers: tuple[Answered, ...]


def preference_rows(
    split: Split, limit: int | None, labelled_too: bool, drop_equal: bool = False
) -> Iterator[PlacedAnswers]:
    """Yields the (first `limit`) records, as long as no bad one was met.

    Args:
        split: of a source.
        limit: None for all.
        labelled_too: whether answers that are marked one by one are taken beside pairs.
        drop_equal: whether pairs of equal answers are passed over; otherwise they are bad rows.

    Raises:
        ConfigError: rows are bad, of which ten are named and all are counted.
    """

    def answers_of(values: Mapping[str, Any]) -> tuple[tuple[Answered, ...] | None, str]:
        answers, problem = to_answers(values, split.source.columns, labelled_too)
        return answers, "" if drop_equal and problem == EQUAL else problem

    for record, answers in split.read(answers_of, limit):
        yield PlacedAnswers(record.place, answers)


def to_answers(
    record: Mapping[str, Any], columns: Mapping[str, str], labelled_too: bool
) -> tuple[tuple[Answered, ...] | None, str]:
    """(answers, "") of a record, or (None, what is wrong with it)."""
    completion, chosen = (columns.get(role, role) for role in ("completion", "chosen"))
    if labelled_too and completion in record and chosen not in record:
        return _labelled(record, columns)
    rows = []
    for role in ("chosen", "rejected"):
        row, problem = _row(record, columns, role, PAIR)
        if row is None:
            return None, problem
        rows.append(row)
    return _pair(*rows)


def _pair(chosen: Row, rejected: Row) -> tuple[tuple[Answered, ...] | None, str]:
    (before, good), (other, bad) = map(_split, (chosen, rejected))
    if before != other:
        return None, '"chosen" and "rejected" answer different conversations'
    if good == bad:
        return None, EQUAL
    return (Answered(chosen, True), Answered(rejected, False)), ""


def _labelled(
    record: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[tuple[Answered, ...] | None, str]:
    column = columns.get("label", "label")
    if record.get(column) is None:
        return None, lacks(column, record, columns, LABELLED)
    value = record[column]
    if not isinstance(value, bool | str | int) or value not in _LABELS:
        return None, f'"{column}" is {value!r}, expected true or false'
    row, problem = _row(record, columns, "completion", LABELLED)
    return (None, problem) if row is None else ((Answered(row, _LABELS[value]),), "")


def _row(
    record: Mapping[str, Any], columns: Mapping[str, str], role: str, roles: Sequence[str]
) -> tuple[Row | None, str]:
    """The pair or conversation of one answer."""
    column, prompt_column = columns.get(role, role), columns.get("prompt", "prompt")
    answer, prompt = record.get(column), record.get(prompt_column)
    if answer is None:
        return None, lacks(column, record, columns, roles)
    if isinstance(answer, list):
        return _conversation(column, prompt, answer)
    for name, value in ((prompt_column, prompt), (column, answer)):
        if value is None:
            return None, lacks(name, record, columns, roles)
        if not isinstance(value, str):
            return None, f'"{name}" is a {type(value).__name__}, expected a string'
        if broken := half_character(value):
            return None, f'"{name}" {broken}'
    return {"input": prompt, "output": answer}, ""


def _conversation(column: str, prompt: Any, answer: list[Any]) -> tuple[Row | None, str]:
    first = answer[0] if answer else None
    begins_with_answer = isinstance(first, Mapping) and first.get("role") == ASSISTANT
    if begins_with_answer and isinstance(prompt, str):
        answer = [{"role": "user", "content": prompt}, *answer]
    elif begins_with_answer and isinstance(prompt, list):
        answer = [*prompt, *answer]
    return conversation(column, answer, complete=True)


def _split(row: Row) -> tuple[Any, str | None]:
    """(what stands before the answer, the answer)."""
    if "messages" in row:
        return split_off_answer(row["messages"])
    return row["input"], row["output"]
