"""Pieces of an answer: the same text, whole characters, and nothing goes on once it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from det_files.generation.decoding import decode
from det_files.generation.sampling import Sampling
from det_files.generation.streaming import stream, text_pieces

PROMPT = [5, 6, 7, 8, 3]
SAMPLINGS = [
    Sampling(20),
    Sampling(20, temperature=1.0, top_k=300, repetition_penalty=1.2, seed=4),
    Sampling(8, num_beams=2),
]
Strong = Callable[..., tuple[Any, Any]]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "drawn", "beams"])
@pytest.mark.parametrize("architecture", ["llama", "t5", "bart"])
def test_the_pieces_are_the_answers_text(
    strong: Strong, architecture: str, sampling: Sampling
) -> None:
    model, tokenizer = strong(architecture)
    (answer,) = decode(model, tokenizer, [PROMPT], sampling, numbers=[6])
    pieces = list(stream(model, tokenizer, PROMPT, sampling, number=6))
    assert "".join(pieces) == answer.text
    assert (len(pieces) > 3) == (sampling.num_beams == 1)


def test_a_piece_holds_whole_characters(tokenizer: Any) -> None:
    text = "été 日本語 🙂 the cat"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) > len(text)  # characters of several tokens
    pieces = list(text_pieces(tokenizer, [tokenizer.eos_token_id], iter([*ids, 3])))
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert len(pieces) > 10
    # One that is never finished is shown at the end, as in the whole answer.
    cut = list(text_pieces(tokenizer, [3], iter(tokenizer("🙂")["input_ids"][:2])))
    assert cut == [tokenizer.decode(tokenizer("🙂")["input_ids"][:2])]


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_a_closed_stream_computes_no_more_and_leaves_no_thread(
    strong: Strong, architecture: str
) -> None:
    model, tokenizer = strong(architecture)
    model.generation_config.eos_token_id = tokenizer.eos_token = None
    model.train()
    pieces = stream(model, tokenizer, PROMPT, Sampling(100_000))
    next(pieces)
    pieces.close()
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    assert not [thread for thread in threading.enumerate() if thread.name == "streamed answer"]
    assert model.training
    assert not calls
    assert list(pieces) == []


def test_an_error_in_generate_is_raised_where_pieces_are_asked_for(strong: Strong) -> None:
    model, tokenizer = strong("t5")
    with pytest.raises(IndexError):
        list(stream(model, tokenizer, [100_000], Sampling(5)))


def test_an_empty_prompt_is_refused_and_one_without_room_has_no_pieces(strong: Strong) -> None:
    model, tokenizer = strong(max_position_embeddings=8)
    with pytest.raises(ValueError, match="no tokens"):
        stream(model, tokenizer, [], Sampling())
    assert list(stream(model, tokenizer, [5] * 9, Sampling())) == []
