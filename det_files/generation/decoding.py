"""Answers to many prompts.

    prompts (token ids, ragged) -> longest first -> rows of a running batch -> answers as they end

Prompts come as token ids, so that they are the very ones that training made: rendering and
tokenizing belong to the data. A decoder's rows enter a batch and leave it one by one
(`running.RunningBatch`), so that none waits for the longest; other models, and searches with beams,
go batch by batch through transformers' `generate` (`searching.search`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from det_files.generation.answers import Answer, end_ids, make_answer
from det_files.generation.padding import longest_first, shared_prefix
from det_files.generation.positions import room_for_answer
from det_files.generation.sampling import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Answers at once unless said otherwise, and the tokens that all of them may have together: so many
# keep the matrix products busy (a step reads all weights, for however many rows), and so few bound
# the memory of keys and values where rows are long.
_AT_ONCE = {"cpu": (128, 65_536)}
_AT_ONCE_ELSEWHERE = (64, 32_768)
# New rows enter when this share of the batch is free, so that their prompts pass together;
_REFILL_SHARE = 1 / 8
# and so many tokens of prompts, padding included, pass at once: what a CPU's caches can hold, and
# what keeps a GPU busy.
_PROMPT_TOKENS = {"cpu": 1024}
_PROMPT_TOKENS_ELSEWHERE = 8192


def decode(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    batch_size: int | None = None,
    numbers: Sequence[int] | None = None,
) -> Generator[Answer, None, None]:
    """Yields the answers to the prompts, each when it has ended.

    In float32 an answer is the one that its prompt has alone. Of the model's own generation config
    only the end tokens hold, and what a translation must begin with. An answer ends at an end token
    of the tokenizer or of the model, after `max_new_tokens`, or at the model's last position; it is
    empty where the prompt leaves no position. Between answers the model is in eval mode; at the
    end, or when the iterator is closed, it is in the mode (train or eval) it was in.

    Args:
        model: a transformers model, or a peft model (with its adapter on, or in
            `disable_adapter()` until the last answer).
        tokenizer: its tokenizer; which side it pads on does not matter. mBART answers in the
            language that it has as its target.
        prompts: token ids of each prompt, generation prompt included; none may be empty.
        sampling: how tokens are chosen; its faults have been found before.
        batch_size: answers that are given at once; by `own_batches` where None.
        numbers: the rows' own numbers, which with the seed settle what is drawn; the places in
            `prompts` where None.

    Raises:
        ValueError: a prompt is empty.
    """
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError(f"prompt {[len(p) for p in prompts].index(0)} has no tokens")
    numbers = range(len(prompts)) if numbers is None else numbers
    return _decode(model, tokenizer, prompts, sampling, batch_size, numbers)


def own_batches(
    model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling
) -> Iterator[tuple[list[int], int]]:
    """Yields how `decode` divides prompts where no batch size is said, and the sizes that suit.

    That is the places of prompts, the longest first, and how many of them are answered at once. A
    few long prompts so are answered before the others and do not hold all of them up. By the kind
    of device and the lengths, not by the memory that happens to be free: in bfloat16 answers may
    depend on the batch, and the same prompts are to have the same ones the next time.
    """
    rows, tokens = _AT_ONCE.get(model.device.type, _AT_ONCE_ELSEWHERE)
    places: list[int] = []
    size = 0
    for place in longest_first(prompts):
        length = len(prompts[place])
        width = length + room_for_answer(model, length, sampling.max_new_tokens)
        suited = max(1, min(rows, tokens // width))
        if places and suited >= 2 * size:  # fewer batches: each one ends in half-empty steps
            yield places, size
            places = []
        if not places:
            size = suited
        places.append(place)
    if places:
        yield places, size


def _decode(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    batch_size: int | None,
    numbers: Sequence[int],
) -> Generator[Answer, None, None]:
    from det_files.generation.running import can_run
    from det_files.generation.searching import search

    with evaluating(model):
        fitting = []
        for place, prompt in enumerate(prompts):
            if room_for_answer(model, len(prompt), sampling.max_new_tokens):
                fitting.append(place)
                continue
            for sequence in range(sampling.num_return_sequences):
                yield make_answer(tokenizer, [], [], numbers[place], sequence)
        prompts, numbers = [prompts[i] for i in fitting], [numbers[i] for i in fitting]
        way = _run if sampling.num_beams == 1 and can_run(model) else search
        batches: Iterable[tuple[Sequence[int], int]]
        if batch_size is None:
            batches = own_batches(model, prompts, sampling)
        else:
            batches = [(range(len(prompts)), batch_size)]
        for places, size in batches:
            asked, theirs = [prompts[i] for i in places], [numbers[i] for i in places]
            yield from way(model, tokenizer, asked, sampling, size, theirs)


def _run(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    batch_size: int,
    numbers: Sequence[int],
) -> Iterator[Answer]:
    """`_decode` by a batch whose rows come and go."""
    from det_files.generation.running import Row, RunningBatch

    waiting = [
        Row(place, numbers[place], sequence, prompts[place], room)
        for place in longest_first(prompts)
        for room in [room_for_answer(model, len(prompts[place]), sampling.max_new_tokens)]
        for sequence in range(sampling.num_return_sequences)
    ]
    ends = end_ids(model, tokenizer)
    size = min(batch_size, len(waiting))
    tokens = _PROMPT_TOKENS.get(model.device.type, _PROMPT_TOKENS_ELSEWHERE)
    widest = max((row.widest for row in waiting), default=0)
    batch = RunningBatch(model, sampling, ends, size, widest)
    batch.begin(shared_prefix(prompts))
    while waiting or batch.rows:
        free = size - len(batch.rows)
        if waiting and (free >= size * _REFILL_SHARE):
            count = max(1, min(free, tokens // len(waiting[0].prompt)))
            ended = batch.enter(waiting[:count])
            del waiting[:count]
        else:
            ended = batch.step()
        for row in ended:
            yield make_answer(tokenizer, ends, row.ids, row.number, row.sequence)


def generate_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int | None = None,
    on_answer: Callable[[], object] = lambda: None,
) -> list[str]:
    """Returns the text of one greedy answer a prompt, in the order given; see `decode`.

    `on_answer` is called as each one ends.
    """
    sampling = Sampling(max_new_tokens=max_new_tokens)
    answers = [""] * len(prompts)
    for answer in decode(model, tokenizer, prompts, sampling, batch_size=batch_size):
        answers[answer.number] = answer.text
        on_answer()
    return answers


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Has a model in eval mode within, and then in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
