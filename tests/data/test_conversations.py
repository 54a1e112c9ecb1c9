"""Conversations: what is taken as one, and what is said of what is not."""

from __future__ import annotations

from typing import Any

import pytest

from det_files.data.conversations import check_messages, split_off_answer
from det_files.data.rows import to_row


def turn(role: str, content: Any = "x", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


WHOLE = [turn("system"), turn("user"), turn("assistant"), turn("tool"), turn("assistant", "y")]


def test_a_conversation_is_its_roles_and_contents() -> None:
    messages, problem = check_messages([turn("user", name="me"), turn("assistant")], True)
    assert messages == [turn("user"), turn("assistant")]
    assert problem == ""
    assert check_messages(WHOLE, True)[0] == WHOLE


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("hello", "is a str, expected a list of messages"),
        ([], "is an empty list"),
        (["hello"], "message 1 is a str, expected {role, content}"),
        ([turn("human")], "message 1 has the role 'human', expected one of system, user, assist"),
        ([turn("user"), turn("asistant")], 'did you mean "assistant"?'),
        ([turn("user"), turn("assistant", None)], "message 2 has a content of type NoneType"),
        ([turn("user"), turn("assistant", ["x"])], "message 2 has a content of type list"),
        ([turn("user"), turn("assistant", "", tool_calls=[{}])], "message 2 has tool_calls"),
        ([turn("system"), turn("user")], "has no assistant's turn to learn"),
        ([turn("user"), turn("assistant"), turn("user")], "ends with the user, expected the assi"),
        ([turn("user"), turn("assistant"), turn("tool")], "ends with the tool, expected the assi"),
    ],
)
def test_what_is_no_conversation_is_said(value: Any, problem: str) -> None:
    found, text = check_messages(value, True)
    assert found is None
    assert problem in text


def test_a_test_row_may_leave_the_last_word_to_the_user() -> None:
    assert check_messages([turn("user")], False)[0] == [turn("user")]
    assert split_off_answer([turn("user")]) == ([turn("user")], None)
    assert split_off_answer(WHOLE) == (WHOLE[:-1], "y")


@pytest.mark.parametrize(
    ("record", "columns", "row"),
    [
        ({"messages": WHOLE, "output": "z"}, {}, {"messages": WHOLE}),
        ({"chat": WHOLE}, {"messages": "chat"}, {"messages": WHOLE}),
        ({"messages": WHOLE, "input": "q", "output": "a"}, {}, {"input": "q", "output": "a"}),
    ],
)
def test_the_columns_say_what_a_record_is(
    record: dict[str, Any], columns: dict[str, str], row: dict[str, Any]
) -> None:
    assert to_row(record, columns, True) == (row, "")


def test_a_fault_in_a_record_names_its_column() -> None:
    assert to_row({"chat": []}, {"messages": "chat"}, True)[1] == '"chat" is an empty list'
    assert to_row({"cat": []}, {"messages": "chat"}, True)[1].startswith('lacks "chat"; did you')
    half = [turn("user", "\ud83d"), turn("assistant")]
    assert "holds half a character" in to_row({"messages": half}, {}, True)[1]
