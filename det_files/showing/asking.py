"""Asking both models the same questions: what they answer, in how many tokens, and how soon."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from det_files.evaluation.questions import answer_limit, answerable_rows, questions_to
from det_files.faults import ConfigError, Fault
from det_files.generation.answers import STOP, Answer
from det_files.generation.decoding import decode
from det_files.generation.sampling import Sampling
from det_files.trained.model import BASE, TUNED
from det_files.trained.pair import Pair
from det_files.trained.prompts import Prompts

BATCH_SIZE = 32  # questions answered at once
PLAIN_ANSWER_TOKENS = 96  # of an answer to a question that has no reference


@dataclass(frozen=True)
class Asked:
    """A question as a reader sees it and as the model does, and its right answer, if it has one."""

    shown: str
    prompt: list[int]
    reference: str | None = None
    reference_tokens: int = 0


@dataclass(frozen=True)
class Given:
    """An answer, and the seconds from the start of the asking until it was whole."""

    answer: Answer
    seconds: float

    @property
    def ended(self) -> bool:
        """Whether the model ended it itself; else it was cut off."""
        return self.answer.finish_reason == STOP


@dataclass(frozen=True)
class BothAnswered:
    """Both models' answers; `given[BASE][i]` and `given[TUNED][i]` are to question `i`."""

    questions: list[Asked]
    given: dict[str, list[Given]]
    max_new_tokens: int

    def texts(self, which: str) -> list[str]:
        return [given.answer.text for given in self.given[which]]

    def tokens(self, which: str) -> list[int]:
        """Tokens generated, end tokens included."""
        return [given.answer.num_generated_tokens for given in self.given[which]]

    def seconds(self, which: str) -> list[float]:
        return [given.seconds for given in self.given[which]]

    @property
    def references(self) -> list[str]:
        """The right answers; empty unless every question has one."""
        found = [asked.reference for asked in self.questions]
        return [] if None in found else [reference or "" for reference in found]


def sample_questions(pair: Pair, size: int, seed: int = 0) -> list[Asked]:
    """Returns `size` rows of the test split, drawn by the seed, in their order; at most all.

    Raises:
        ConfigError: `size` is less than 1; there is no test split, or it lacks answers; the
            template refuses a row.
    """
    if size < 1:
        raise ConfigError(Fault("sample", f"expected at least 1, got {size}"))
    rows = answerable_rows(pair)
    if size < len(rows):
        rows = [rows[n] for n in sorted(random.Random(seed).sample(range(len(rows)), size))]
    made = questions_to(pair, rows)
    return [
        Asked(row.shown, question.prompt, question.reference, question.reference_tokens)
        for row, question in zip(rows, made, strict=True)
    ]


def plain_questions(pair: Pair, texts: Sequence[str]) -> list[Asked]:
    """Returns questions without a reference, asked as they are: the task's format is not put on.

    Where the model has a chat template each is a conversation of its own; else it is an input.

    Raises:
        NotRendered: the chat template does not take one.
    """
    sources = pair.data.settled_sources()
    name = sources[0].label if sources else None
    prompts = Prompts(pair.data, pair.tokenizer, pair.is_seq2seq, name)
    if prompts.takes_conversations:
        made = [prompts.conversation([{"role": "user", "content": text}]) for text in texts]
    else:
        made = [prompts.tokens({"input": text}) for text in texts]
    return [Asked(text, prompt) for text, prompt in zip(texts, made, strict=True)]


def ask_both(
    pair: Pair, questions: Sequence[Asked], max_new_tokens: int | None = None
) -> BothAnswered:
    """Returns both models' greedy answers.

    Args:
        pair: the models.
        questions: what is asked; none are answered by nothing.
        max_new_tokens: where an answer is cut off; by default half as long again as the longest
            right answer, or PLAIN_ANSWER_TOKENS where there is none.
    """
    lengths = [question.reference_tokens for question in questions]
    usual = answer_limit(lengths) if any(lengths) else PLAIN_ANSWER_TOKENS
    sampling = Sampling(max_new_tokens or usual)
    given: dict[str, list[Given]] = {BASE: [], TUNED: []}
    if questions:
        prompts = [question.prompt for question in questions]
        given = pair.each(lambda _, model: _ask(model, pair, prompts, sampling))
    return BothAnswered(list(questions), given, sampling.max_new_tokens)


def _ask(model: object, pair: Pair, prompts: list[list[int]], sampling: Sampling) -> list[Given]:
    started = time.monotonic()
    found = [
        Given(answer, time.monotonic() - started)
        for answer in decode(model, pair.tokenizer, prompts, sampling, batch_size=BATCH_SIZE)
    ]
    return sorted(found, key=lambda given: given.answer.number)
