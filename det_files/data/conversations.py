"""Conversations: `{"messages": [{"role", "content"}, …]}`, checked before a template sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from det_files.faults import did_you_mean

Message = dict[str, str]
ROLES = ("system", "user", "assistant", "tool")
ASSISTANT = "assistant"


def check_messages(value: Any, complete: bool) -> tuple[list[Message] | None, str]:
    """(messages with role and content alone, "") or (None, what is wrong with them).

    `complete` asks for an assistant's turn at the end, as training does.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None, f"is a {type(value).__name__}, expected a list of messages"
    if not value:
        return None, "is an empty list"
    messages: list[Message] = []
    for number, item in enumerate(value, 1):
        message, problem = _check_message(item)
        if message is None:
            return None, f"message {number} {problem}"
        messages.append(message)
    if complete and all(message["role"] != ASSISTANT for message in messages):
        return None, "has no assistant's turn to learn"
    if complete and messages[-1]["role"] != ASSISTANT:
        return None, f"ends with the {messages[-1]['role']}, expected the assistant's answer"
    return messages, ""


def _check_message(item: Any) -> tuple[Message | None, str]:
    if not isinstance(item, Mapping):
        return None, f"is a {type(item).__name__}, expected {{role, content}}"
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        expected = f"expected one of {', '.join(ROLES)}"
        return None, f"has the role {role!r}, {expected}{did_you_mean(str(role), ROLES)}"
    if item.get("tool_calls"):
        return None, "has tool_calls, which are not supported"  # left out, they would not be missed
    if not isinstance(content, str):
        return None, f"has a content of type {type(content).__name__}, expected a string"
    return {"role": str(role), "content": content}, ""


def split_off_answer(messages: Sequence[Message]) -> tuple[list[Message], str | None]:
    """(what stands before the last answer, that answer); None where the user has the last word."""
    if messages[-1]["role"] != ASSISTANT:
        return list(messages), None
    return list(messages[:-1]), messages[-1]["content"]
