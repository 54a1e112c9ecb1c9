"""The oldest turns go first, whole, and the system prompt never."""

from collections.abc import Sequence

import pytest

from det_files.chatting.conversation import Turn
from det_files.chatting.fitting import TooLong, without_oldest

SYSTEM = {"role": "system", "content": "s" * 5}


def turns(*lengths: int) -> list[Turn]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": "x" * length} for n, length in enumerate(lengths)]


def count(messages: Sequence[Turn]) -> int:
    return sum(len(message["content"]) for message in messages)


@pytest.mark.parametrize("room", [None, 45, 100])
def test_what_fits_is_left_as_it_is(room: int | None) -> None:
    messages = [SYSTEM, *turns(10, 10, 10, 10)][:-1] + turns(10)
    assert without_oldest(messages, count, room) == (messages, 0)


@pytest.mark.parametrize(("room", "left_out"), [(54, 2), (35, 2), (34, 4), (15, 4)])
def test_whole_turns_are_left_out_and_no_more_than_must_be(room: int, left_out: int) -> None:
    messages = [SYSTEM, *turns(10, 10, 10, 10, 10)]
    found, dropped = without_oldest(messages, count, room)
    assert dropped == left_out
    assert found == [SYSTEM, *messages[1 + left_out :]]
    assert found[1]["role"] == "user" and count(found) <= room


def test_a_message_that_does_not_fit_by_itself_is_refused_with_its_size() -> None:
    with pytest.raises(TooLong, match=r"the message and the system prompt have 15 tokens, .* 14"):
        without_oldest([SYSTEM, *turns(10, 10, 10)], count, 14)
    with pytest.raises(TooLong, match=r"the message has 10 tokens, .* 9"):
        without_oldest(turns(10), count, 9)
