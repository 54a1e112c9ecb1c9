"""A talker over a checkpoint: one copy of the weights where an adapter was trained, else two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

from det_files.chatting.conversation import USER, Turn
from det_files.chatting.fitting import TooLong, without_oldest
from det_files.chatting.talker import CannotAnswer
from det_files.data.arguments import INPUT_PLACEHOLDER
from det_files.data.templates import NotRendered
from det_files.faults import ConfigError, Faults
from det_files.generation.positions import longest_prompt, positions_of
from det_files.generation.running import can_run
from det_files.generation.sampling import Sampling
from det_files.generation.streaming import stream
from det_files.models import SEQ2SEQ
from det_files.out_of_memory import is_out_of_memory
from det_files.trained.model import BASE, TUNED, TrainedModel, load_base


class TrainedTalker:
    """Answers with the template of training; see `Talker`."""

    def __init__(self, tuned: TrainedModel, sampling: Sampling, dtype: str | None = None) -> None:
        """`dtype` is that of a base model which is loaded by itself, when it is first asked.

        Raises:
            ConfigError: the longest answer leaves no room for a prompt; see `Prompts`.
        """
        self._models = {TUNED: tuned}
        self._sampling = sampling
        self._dtype = dtype
        self._asked = 0
        self._prompts = tuned.prompts()
        self.keeps_history = self._prompts.takes_conversations
        # An adapter is switched between two pieces, unless the model has a thread of its own.
        self.takes_turns = can_run(tuned.model) or not tuned.has_base
        self._room = room_for_prompt(tuned, sampling.max_new_tokens)
        if self._room is not None and self._room < 1:
            faults = Faults()
            reason = f"{sampling.max_new_tokens} tokens of an answer leave no room for a prompt: "
            faults.add("--max-new-tokens", f"{reason}the model has {positions_of(tuned.model)}")
            faults.raise_if_any()

    def fit(self, messages: Sequence[Turn]) -> tuple[list[Turn], int]:
        """See `Talker.fit`. Without a chat template the last message alone is read."""
        read = messages if self.keeps_history else messages[-1:]
        try:
            return without_oldest(read, lambda some: len(self._tokens(some)), self._room)
        except (TooLong, NotRendered) as error:
            raise CannotAnswer(str(error)) from error

    def stream(self, messages: Sequence[Turn], which: str) -> Iterator[str]:
        """See `Talker.stream`. Each answer of a chat has draws of its own."""
        self._asked += 1
        with _explained():  # the base model may have to be loaded
            trained, role = self._model(which)
            tokens = self._tokens(messages)
        pieces = stream(
            trained.model, trained.tokenizer, tokens, self._sampling, number=self._asked
        )
        return self._pieces(trained, role, pieces)

    def _pieces(self, trained: TrainedModel, role: str, pieces: Iterator[str]) -> Iterator[str]:
        with _explained(), ExitStack() as held:
            if not self.takes_turns:
                held.enter_context(trained.answering_as(role))
            held.callback(pieces.close)  # type: ignore[attr-defined]  # a generator
            while True:
                with nullcontext() if not self.takes_turns else trained.answering_as(role):
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece

    def _model(self, which: str) -> tuple[TrainedModel, str]:
        """What answers as a model, and what it must be asked to answer as."""
        tuned = self._models[TUNED]
        if which == TUNED or tuned.has_base:
            return tuned, which
        if BASE not in self._models:
            self._models[BASE] = load_base(tuned.checkpoint, self._dtype)
        return self._models[BASE], TUNED

    def _tokens(self, messages: Sequence[Turn]) -> list[int]:
        if not self.keeps_history:
            return self._prompts.tokens({"input": messages[-1]["content"]})
        # What pairs were trained in stands around each question within its turn.
        form = self._prompts.template.input_format
        return self._prompts.conversation(
            [{"role": turn["role"], "content": _as_question(turn, form)} for turn in messages]
        )


def _as_question(turn: Turn, form: str) -> str:
    content = str(turn["content"])
    return form.replace(INPUT_PLACEHOLDER, content) if turn["role"] == USER else content


def room_for_prompt(trained: TrainedModel, max_new_tokens: int) -> int | None:
    """Tokens that a prompt may have so that the longest answer fits; None: any number."""
    longest = longest_prompt(trained.model)
    if longest is None or trained.kind == SEQ2SEQ:  # an encoder has its positions for itself
        return longest
    return longest - max_new_tokens


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what keeps a model from answering into a CannotAnswer."""
    try:
        yield
    except ConfigError as error:
        raise CannotAnswer("; ".join(map(str, error.faults))) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CannotAnswer("the memory does not suffice: a shorter conversation may") from error
