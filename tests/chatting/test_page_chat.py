"""Both panes of a page, without the page."""

from itertools import pairwise

import pytest

from chatting.models_to_chat_with import make_adapter
from det_files.chatting.page_chat import STOPPED, PageChat
from det_files.chatting.trained_talker import TrainedTalker
from det_files.generation.sampling import Sampling
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import BASE, MODELS, TUNED, load_trained


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> TrainedTalker:
    checkpoint = open_checkpoint(make_adapter(tmp_path_factory.mktemp("lora")))
    return TrainedTalker(load_trained(checkpoint), Sampling(max_new_tokens=20))


def texts(panes: dict[str, list[dict[str, str]]], which: str) -> list[str]:
    return [turn["content"] for turn in panes[which]]


def test_both_panes_grow_and_each_model_keeps_its_own_answers(talker: TrainedTalker) -> None:
    chat = PageChat()
    first = list(chat.ask(talker, "the cat", " be kind "))
    for which in MODELS:
        shown = [texts(panes, which)[-1] for panes in first[1:]]
        assert len(set(shown)) > 5
        assert all(now.startswith(before) for before, now in pairwise(shown[1:]))
    assert texts(chat.panes(), BASE)[0] == texts(chat.panes(), TUNED)[0] == "the cat"
    assert texts(chat.panes(), BASE)[1] != texts(chat.panes(), TUNED)[1]
    list(chat.ask(talker, "one two", ""))
    for which in MODELS:
        messages = chat.conversations[which].messages()
        assert [m["role"] for m in messages] == ["user", "assistant"] * 2
        asked = "".join(talker.stream(messages[:-1], which))
        assert asked == messages[-1]["content"]


def test_stop_keeps_what_is_shown_and_marks_it(talker: TrainedTalker) -> None:
    chat = PageChat()
    answers = chat.ask(talker, "the cat", "")
    for _ in range(9):
        shown = next(answers)
    chat.stop()
    rest = list(answers)
    for which in MODELS:
        final = texts(rest[-1], which)[-1]
        assert final.startswith(texts(shown, which)[-1]) and final.endswith(STOPPED)
        assert chat.conversations[which].turns[-1]["stopped"]
    assert len(rest) <= 3
    assert not texts(list(chat.ask(talker, "the cat", ""))[-1], BASE)[-1].endswith(STOPPED)


def test_a_page_that_is_left_ends_its_answers(talker: TrainedTalker) -> None:
    chat = PageChat()
    answers = chat.ask(talker, "the cat", "")
    for _ in range(6):
        next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert all(c.turns[-1]["stopped"] for c in chat.conversations.values())


def test_clear_while_answers_are_given_leaves_nothing(talker: TrainedTalker) -> None:
    chat = PageChat()
    answers = chat.ask(talker, "the cat", "")
    for _ in range(6):
        next(answers)
    chat.clear()
    assert list(answers)[-1] == chat.panes() == {which: [] for which in MODELS}


def test_what_does_not_fit_is_said_and_is_not_part_of_the_chat(talker: TrainedTalker) -> None:
    chat = PageChat()
    panes = list(chat.ask(talker, "cat " * 400, ""))[-1]
    assert panes == {which: [] for which in MODELS}
    assert "there is room for 236" in chat.note
    for _ in range(12):
        list(chat.ask(talker, "the cat and the dog", ""))
    assert "the oldest messages do not fit" in chat.note
    assert len(chat.panes()[BASE]) == 24
