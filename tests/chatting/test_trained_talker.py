"""A checkpoint's models answer in a chat as they do to the prompts of training."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from export_checkpoints import as_checkpoint

from chatting.models_to_chat_with import DATA, make_adapter, make_checkpoint
from det_files.chatting.conversation import Turn
from det_files.chatting.talker import CannotAnswer, in_turns
from det_files.chatting.trained_talker import TrainedTalker
from det_files.faults import ConfigError
from det_files.generation.decoding import decode
from det_files.generation.sampling import Sampling
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import BASE, MODELS, TUNED, load_base, load_trained
from tiny import make_model

SHORT = Sampling(max_new_tokens=12)
CHAT: list[Turn] = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "the cat"},
    {"role": "assistant", "content": "the dog", "stopped": True},
    {"role": "user", "content": "one two"},
]
QUESTION = CHAT[1:2]


def talker_of(checkpoint: Path, sampling: Sampling = SHORT) -> TrainedTalker:
    return TrainedTalker(load_trained(open_checkpoint(checkpoint)), sampling)


def answer(talker: TrainedTalker, messages: Sequence[Turn], which: str = TUNED) -> str:
    return "".join(talker.stream(messages, which))


def decoded(trained: Any, prompt: list[int]) -> str:
    (found,) = decode(trained.model, trained.tokenizer, [prompt], SHORT)
    return found.text


@pytest.mark.parametrize("kind", ["full", "lora", "prompt"])
def test_both_models_answer_as_they_do_alone_whoever_has_the_turn(
    tmp_path: Path, kind: str
) -> None:
    path = make_checkpoint(tmp_path) if kind == "full" else make_adapter(tmp_path, kind)
    checkpoint = open_checkpoint(path)
    alone = {TUNED: load_trained(checkpoint), BASE: load_base(checkpoint)}
    expected = {
        which: decoded(trained, trained.prompts().conversation(CHAT))
        for which, trained in alone.items()
    }
    assert expected[BASE] != expected[TUNED]
    talker = talker_of(path)
    assert talker.takes_turns == (kind != "prompt")
    assert talker.fit(CHAT) == (CHAT, 0)
    order, answers = [], dict.fromkeys(MODELS, "")
    for which, piece in in_turns({w: talker.stream(CHAT, w) for w in MODELS}, talker):
        order.append(which)
        answers[which] += piece or ""
    assert answers == expected
    assert (order[:4] == [BASE, TUNED] * 2) == (kind != "prompt")
    # One that is left in its middle leaves the models as they were.
    for which in MODELS:
        started = talker.stream(CHAT, which)
        next(started)
        started.close()  # type: ignore[attr-defined]
    assert answer(talker, CHAT, TUNED) == expected[TUNED]


def test_the_format_of_training_stands_around_a_question(tmp_path: Path) -> None:
    form = {"input_format": "Question: __input__ Answer:"}
    talker = talker_of(make_checkpoint(tmp_path, data=form))
    trained = load_trained(open_checkpoint(tmp_path / "tuned"))
    row = trained.prompts().tokens({"input": "the cat"})
    assert answer(talker, QUESTION) == decoded(trained, row)
    bare = trained.prompts().conversation(QUESTION)
    assert answer(talker, QUESTION) != decoded(trained, bare)


def test_an_encoder_decoder_reads_the_last_message_alone(tmp_path: Path) -> None:
    model = make_model(tmp_path, "bart", init_std=0.3)
    base = {"model_name_or_path": str(model), "dtype": "float32"}
    talker = talker_of(as_checkpoint(model, model_arguments=base, data_arguments=DATA))
    assert not talker.keeps_history
    assert talker.fit(CHAT) == (CHAT[-1:], 0)
    trained = load_trained(open_checkpoint(model))
    row = trained.prompts().tokens({"input": "one two"})
    assert answer(talker, CHAT[-1:]) == decoded(trained, row)
    long = {"role": "user", "content": " ".join(["cat"] * 300)}
    with pytest.raises(CannotAnswer, match="there is room for 256"):
        talker.fit([long])


def test_virtual_tokens_leave_less_room(tmp_path: Path) -> None:
    rooms = []
    for method in ("lora", "prompt"):
        talker = talker_of(make_adapter(tmp_path / method, method))
        with pytest.raises(CannotAnswer) as caught:
            talker.fit([{"role": "user", "content": "cat " * 300}])
        rooms.append(int(str(caught.value).rpartition(" ")[2]))
    assert rooms == [256 - 12, 256 - 12 - 4]


def test_an_answer_that_leaves_a_prompt_no_room_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--max-new-tokens: 256 tokens .* the model has 256"):
        talker_of(make_checkpoint(tmp_path), Sampling(max_new_tokens=256))


def test_draws_differ_within_a_chat_and_not_between_two(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path)
    sampling = Sampling(max_new_tokens=12, temperature=2.0)
    chats = []
    for _ in range(2):
        talker = talker_of(path, sampling)
        chats.append([answer(talker, QUESTION) for _ in range(3)])
    assert chats[0] == chats[1]
    assert len(set(chats[0])) == 3


def test_a_base_model_that_is_gone_gives_no_answer_and_the_tuned_one_does(tmp_path: Path) -> None:
    talker = talker_of(make_checkpoint(tmp_path))
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(CannotAnswer, match="base"):
        talker.stream(QUESTION, BASE)
    assert answer(talker, QUESTION)


def test_a_chat_template_may_refuse_a_conversation(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path)
    file = path / "chat_template.jinja"
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    file.write_text(refuse + file.read_text())
    talker = talker_of(path)
    with pytest.raises(CannotAnswer, match=r"the chat template refuses it: .*no system"):
        talker.fit(CHAT)
    assert talker.fit(CHAT[1:]) == (CHAT[1:], 0)
