"""Turns come and go in pairs."""

from det_files.chatting.conversation import Conversation


def test_a_stopped_answer_stays_as_far_as_it_was_shown_and_is_marked() -> None:
    conversation = Conversation("be brief")
    conversation.ask("one")
    conversation.answer("yes and")
    conversation.ask("two")
    conversation.answer("no b", stopped=True)
    assert conversation.messages() == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "yes and"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "no b", "stopped": True},
    ]
    conversation.reset()
    assert conversation.messages() == [{"role": "system", "content": "be brief"}]


def test_a_question_of_which_nothing_was_answered_is_taken_back() -> None:
    conversation = Conversation()
    conversation.ask("one")
    conversation.answer("", stopped=True)
    assert conversation.messages() == []
    conversation.ask("two")
    conversation.answer("")  # the model itself said nothing
    assert [turn["content"] for turn in conversation.turns] == ["two", ""]


def test_the_last_question_is_what_a_comparison_asks_again() -> None:
    conversation = Conversation("s")
    assert conversation.until_last_question() == []
    conversation.ask("one")
    conversation.answer("yes")
    assert [m["content"] for m in conversation.until_last_question()] == ["s", "one"]
