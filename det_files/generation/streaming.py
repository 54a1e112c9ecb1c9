"""One answer as it is given: pieces of text, until it ends or is no longer wanted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from det_files.generation.answers import end_ids, until_end
from det_files.generation.decoding import decode, evaluating
from det_files.generation.positions import room_for_answer
from det_files.generation.running import Row, RunningBatch, can_run
from det_files.generation.sampling import Sampling
from det_files.generation.searching import generate_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What a tokenizer decodes bytes to that are no whole character (yet).
_INCOMPLETE = "\ufffd"


def stream(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    number: int = 0,
) -> Generator[str, None, None]:
    """Yields the text of `decode`'s first answer to a prompt, in pieces as they are generated.

    A piece holds whole characters alone. Closing the iterator ends the generation at once and
    leaves no thread behind. A search with beams knows its answer only at the end: one piece.

    Args:
        model, tokenizer, sampling: as for `decode`.
        prompt: token ids, generation prompt included.
        number: by which, with the seed, the draws are known.

    Raises:
        ValueError: the prompt is empty.
    """
    if not prompt:
        raise ValueError("the prompt has no tokens")
    return _stream(model, tokenizer, prompt, sampling, number)


def _stream(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    sampling: Sampling,
    number: int,
) -> Generator[str, None, None]:
    room = room_for_answer(model, len(prompt), sampling.max_new_tokens)
    if not room:
        return
    if sampling.num_beams > 1:
        answers = decode(model, tokenizer, [prompt], sampling, numbers=[number])
        yield next(answer.text for answer in answers if answer.sequence == 0)
        return
    sampling = replace(sampling, max_new_tokens=room, num_return_sequences=1)
    tokens = _stepped if can_run(model) else _searched
    with evaluating(model):
        found = tokens(model, tokenizer, prompt, sampling, number)
        try:
            yield from text_pieces(tokenizer, end_ids(model, tokenizer), found)
        finally:
            found.close()


def text_pieces(
    tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], tokens: Iterator[int]
) -> Iterator[str]:
    """Yields the text of tokens as it grows; what may be half a character waits for the rest."""
    ids: list[int] = []
    said = ""
    text = ""
    for token in tokens:
        ids.append(token)
        text = str(tokenizer.decode(until_end(ids, ends), skip_special_tokens=True))
        whole = text.rstrip(_INCOMPLETE)
        if len(whole) > len(said):
            piece, said = whole[len(said) :], whole
            yield piece
    if len(text) > len(said):
        yield text[len(said) :]


def _stepped(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    sampling: Sampling,
    number: int,
) -> Generator[int, None, None]:
    """The tokens of an answer, each computed when it is asked for."""
    row = Row(0, number, 0, prompt, sampling.max_new_tokens)
    batch = RunningBatch(model, sampling, end_ids(model, tokenizer), 1, row.widest)
    batch.enter([row])
    yield row.ids[-1]
    while batch.rows:
        batch.step()
        yield row.ids[-1]


def _searched(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    sampling: Sampling,
    number: int,
) -> Generator[int, None, None]:
    """The tokens of an answer that transformers' `generate` gives in a thread of its own."""
    from transformers import StoppingCriteriaList

    found: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
    unwanted = threading.Event()

    def stop(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return input_ids.new_full((len(input_ids),), unwanted.is_set(), dtype=torch.bool)

    def work() -> None:
        try:
            options = {
                "streamer": _Tokens(found),
                "stopping_criteria": StoppingCriteriaList([stop]),
            }
            generate_batch(model, tokenizer, [prompt], sampling, [(number, 0)], **options)
            found.put(None)
        except BaseException as error:  # raised again where the tokens are asked for
            found.put(error)

    thread = threading.Thread(target=work, name="streamed answer")
    thread.start()
    try:
        while (token := found.get()) is not None:
            if isinstance(token, BaseException):
                raise token
            yield token
    finally:
        unwanted.set()
        thread.join()


class _Tokens:
    """A streamer of `generate` that puts each new token into a queue."""

    def __init__(self, found: queue.SimpleQueue[int | BaseException | None]) -> None:
        self._found = found
        self._begun = False

    def put(self, value: torch.Tensor) -> None:
        if self._begun:
            self._found.put(int(value))
        self._begun = True  # the first are the prompt, or the decoder's start

    def end(self) -> None:
        """Nothing: `generate` returns then."""
