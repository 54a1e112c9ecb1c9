"""Rows of preferences: what a record gives, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from det_files.data.preference_rows import Answered, to_answers

USER = {"role": "user", "content": "Who?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


PAIR = {"prompt": "Who?", "chosen": "Me.", "rejected": "You."}
AS_PAIR = (
    Answered({"input": "Who?", "output": "Me."}, True),
    Answered({"input": "Who?", "output": "You."}, False),
)
AS_CONVERSATIONS = (
    Answered({"messages": [SYSTEM, USER, says("Me.")]}, True),
    Answered({"messages": [SYSTEM, USER, says("You.")]}, False),
)


@pytest.mark.parametrize(
    ("record", "columns", "expected"),
    [
        (PAIR, {}, AS_PAIR),
        (
            {"q": "Who?", "good": "Me.", "bad": "You."},
            {"prompt": "q", "chosen": "good", "rejected": "bad"},
            AS_PAIR,
        ),
        # Whole conversations, with or without the prompt said again.
        (
            {
                "chosen": [SYSTEM, USER, says("Me.")],
                "rejected": [SYSTEM, USER, says("You.")],
            },
            {},
            AS_CONVERSATIONS,
        ),
        (
            {
                "prompt": "Who?",
                "chosen": [SYSTEM, USER, says("Me.")],
                "rejected": [SYSTEM, USER, says("You.")],
            },
            {},
            AS_CONVERSATIONS,
        ),
        # The conversation in the prompt, the answers alone.
        (
            {"prompt": [SYSTEM, USER], "chosen": [says("Me.")], "rejected": [says("You.")]},
            {},
            AS_CONVERSATIONS,
        ),
        (
            {"prompt": "Who?", "chosen": [says("Me.")], "rejected": [says("You.")]},
            {},
            (
                Answered({"messages": [USER, says("Me.")]}, True),
                Answered({"messages": [USER, says("You.")]}, False),
            ),
        ),
        (
            {"prompt": "Who?", "completion": "Me.", "label": True},
            {},
            (Answered({"input": "Who?", "output": "Me."}, True),),
        ),
        (  # one column named, the others as they are
            {"q": "Who?", "completion": "Me.", "label": True},
            {"prompt": "q"},
            (Answered({"input": "Who?", "output": "Me."}, True),),
        ),
        (
            {"prompt": [USER], "completion": [says("You.")], "label": "false"},  # as CSV has it
            {},
            (Answered({"messages": [USER, says("You.")]}, False),),
        ),
    ],
)
def test_a_record(record: dict[str, Any], columns: dict[str, str], expected: Any) -> None:
    assert to_answers(record, columns, labelled_too=True) == (expected, "")


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (PAIR | {"rejected": "Me."}, '"chosen" and "rejected" are the same answer'),
        ({"prompt": "Who?", "chosen": "Me."}, 'lacks "rejected" (there is prompt, chosen'),
        ({"prmpt": "Who?", "chosen": "Me.", "rejected": "You."}, 'lacks "prompt"; did you mean'),
        (PAIR | {"chosen": 7}, '"chosen" is a int, expected a string'),
        (PAIR | {"chosen": "\ud83d"}, '"chosen" holds half a character'),
        (
            {"chosen": [USER, says("Me.")], "rejected": [SYSTEM, USER, says("You.")]},
            '"chosen" and "rejected" answer different conversations',
        ),
        ({"chosen": [USER], "rejected": [USER]}, '"chosen" has no assistant\'s turn to learn'),
        ({"prompt": "Who?", "completion": "Me."}, 'lacks "label"'),
        (
            {"prompt": "Who?", "completion": "Me.", "label": "maybe"},
            "\"label\" is 'maybe', expected true or false",
        ),
        ({"prompt": "Who?", "completion": "Me.", "label": 2}, '"label" is 2, expected true or'),
    ],
)
def test_what_is_wrong(record: dict[str, Any], problem: str) -> None:
    answers, found = to_answers(record, {}, labelled_too=True)
    assert answers is None
    assert found.startswith(problem), found


def test_marked_answers_are_no_pairs() -> None:
    record = {"prompt": "Who?", "completion": "Me.", "label": True}
    answers, problem = to_answers(record, {}, labelled_too=False)
    assert answers is None and problem.startswith('lacks "chosen"')
