"""Rows: a record's columns as what a template takes, or what is wrong with the record.

A row is `{"input": str, "output": str}`, `{"messages": [{"role": str, "content": str}, …]}` or
`{"text": str}`. A test row may lack its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from det_files.data.arguments import PREFERENCE_ROLES, ROLES
from det_files.data.conversations import check_messages
from det_files.faults import ConfigError, Fault, did_you_mean

Row = dict[str, Any]
SHOWN_FAULTS = 10


class PlacedRow(NamedTuple):
    """A row and where it stands; `continues` marks a document that goes on with the next one."""

    place: str
    row: Row
    continues: bool = False


def is_text(row: Row) -> bool:
    """Whether a row is plain text, of which blocks are made."""
    return "text" in row


def wanted_columns(columns: Mapping[str, str]) -> frozenset[str]:
    """The columns of which a row may be made; of a pair, a role that is not mapped is its own."""
    if not columns:
        return frozenset({*ROLES, *PREFERENCE_ROLES})
    roles: Iterable[str] = ("input", "output")
    if {"text", "messages"} & set(columns):
        roles = columns
    elif set(PREFERENCE_ROLES) & set(columns):
        roles = PREFERENCE_ROLES
    return frozenset(columns.get(role, role) for role in roles)


def to_row(
    record: Mapping[str, Any], columns: Mapping[str, str], complete: bool
) -> tuple[Row | None, str]:
    """(row, "") of a record, or (None, what is wrong); `complete` rows have their answer."""
    kind = _kind(record, columns)
    if kind == "messages":
        column = columns.get(kind, kind)
        if record.get(column) is None:
            return None, f'lacks "{column}"{did_you_mean(column, record)}'
        return conversation(column, record[column], complete)
    row: Row = {}
    for role in ("text",) if kind == "text" else ("input", "output"):
        column = columns.get(role, role)
        value = record.get(column)
        if value is None and role == "output" and not complete:
            continue
        if value is None:
            return None, lacks(column, record, columns)
        if not isinstance(value, str):
            return None, f'"{column}" is a {type(value).__name__}, expected a string'
        if broken := half_character(value):
            return None, f'"{column}" {broken}'
        row[role] = value
    return row, ""


def lacks(
    column: str,
    record: Mapping[str, Any],
    columns: Mapping[str, str],
    roles: Iterable[str] = ("input", "output"),
) -> str:
    """That a column is missing, what there is, and how `columns` says which of it is meant."""
    there = ", ".join(map(str, record)) or "nothing"
    way = f"; columns: {{{', '.join(f'{role}: …' for role in roles)}}} names others"
    way = "" if columns else way
    return f'lacks "{column}"{did_you_mean(column, record)} (there is {there}{way})'


def _kind(record: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    named = columns or ({} if "input" in record else record)
    return next((kind for kind in ("messages", "text") if kind in named), "pair")


def conversation(column: str, value: Any, complete: bool) -> tuple[Row | None, str]:
    """(row, "") of a column's list of messages, or (None, what is wrong); see `check_messages`."""
    messages, problem = check_messages(value, complete)
    if messages is None:
        return None, f'"{column}" {problem}'
    broken = next((b for m in messages if (b := half_character(m["content"]))), "")
    return (None, f'"{column}" {broken}') if broken else ({"messages": messages}, "")


def half_character(value: str) -> str:
    """What is wrong with a string that cannot be written as UTF-8; "" where nothing is."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair
        return f"holds half a character (\\u{ord(value[error.start]):x})"
    return ""


class BadRows:
    """Collects what is wrong with rows: the first ten with their places, and how many there are."""

    def __init__(self, section: str) -> None:
        """`section` is the place of their source in the configuration."""
        self._section = section
        self._shown: list[Fault] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    @property
    def is_full(self) -> bool:
        """Whether as many were met as are shown."""
        return self._count >= SHOWN_FAULTS

    def add(self, place: str, problem: str) -> None:
        self._count += 1
        if self._count <= SHOWN_FAULTS:
            self._shown.append(Fault(self._section, f"{place}: {problem}"))

    def raise_if_any(self, hints: Iterable[str] = ()) -> None:
        """Raises a ConfigError that names them."""
        if not self._count:
            return
        rest = self._count - len(self._shown)
        more = [f"{self._count} bad rows in all; {rest} are not shown"] if rest else []
        raise ConfigError([*self._shown, *(Fault(self._section, t) for t in [*more, *hints])])
