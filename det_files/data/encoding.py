"""Tokens and learned places of many rows at once: a few calls of the tokenizer a batch.

A row is opening, answer, end token, and for a conversation: between, answer, end token, … Answers
and their end tokens are learned, the rest is not. Each part is tokenized as in `tokenization`, so
that a pair and the conversation of its two messages have the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from det_files.data.arguments import SourceArguments
from det_files.data.conversations import ASSISTANT, Message, split_off_answer
from det_files.data.rows import Row
from det_files.data.templates import NotRendered, Template
from det_files.data.tokenization import ANCHOR, cut, cut_at, encode_prompt, may_exceed, opening_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class EncodedRow:
    """A row's tokens [S] and which are learned [S]; or `problem`, where it cannot be rendered.

    `separate` says that what is learned is a sequence of its own, behind the other one; `tails` are
    the special tokens that then end either of the two.
    """

    tokens: list[int] = field(default_factory=list)
    learned: list[bool] = field(default_factory=list)
    input_cut: bool = False
    output_cut: bool = False
    problem: str = ""
    separate: bool = False
    tails: tuple[int, int] = (0, 0)

    @property
    def lengths(self) -> tuple[int, int]:
        """The positions that it needs of a model, and of the decoder of one that has its own."""
        learned = sum(self.learned) if self.separate else 0
        return len(self.tokens) - learned, learned

    @property
    def length(self) -> int:
        """The positions of its longer side."""
        return max(self.lengths)

    def cut_to(self, limit: int, target_limit: int | None = None) -> tuple[list[int], list[bool]]:
        """(tokens, learned) of its first `limit` positions.

        Of two sequences each is cut, the second to `target_limit` (default: `limit`), and keeps the
        special tokens that end it: mBART's decoder begins with the last of them.
        """
        if not self.separate:
            return self.tokens[:limit], self.learned[:limit]
        border, _ = self.lengths
        source = _cut_before(self.tokens[:border], self.tails[0], limit)
        target_limit = limit if target_limit is None else target_limit
        target = _cut_before(self.tokens[border:], self.tails[1], target_limit)
        return source + target, [False] * len(source) + [True] * len(target)


def _cut_before(tokens: list[int], tail: int, limit: int) -> list[int]:
    """At most `limit` tokens, the last `tail` of them among these."""
    if len(tokens) <= limit:
        return tokens
    kept = max(limit - tail, 0)
    return (tokens[:kept] + tokens[len(tokens) - tail :])[: max(limit, 0)]


@dataclass(frozen=True)
class _Parts:
    """The texts of a row: n answers, what opens it, and the n - 1 texts between answers."""

    opening: str
    answers: list[str]
    between: list[str]


class RowEncoder:
    """Encodes the rows of one source."""

    def __init__(self, source: SourceArguments, template: Template) -> None:
        """`source` has the limits, `template` the formats."""
        self._template = template
        self._tokenizer = template.tokenizer
        # Without limits (a source that was not settled) nothing is cut.
        self._input_limit = source.max_input_tokens or 2**62
        self._output_limit = source.max_output_tokens or 2**62
        self._lead = token_ids(self._tokenizer, [ANCHOR])[0]

    def encode(self, rows: Sequence[Row]) -> list[EncodedRow]:
        """Pairs and conversations as tokens, in their order."""
        encoded = [EncodedRow() for _ in rows]
        conversations = self._cut(rows, encoded)
        parts = [
            self._parts(row, messages, result)
            for row, messages, result in zip(rows, conversations, encoded, strict=True)
        ]
        whole = [part for part in parts if part is not None]
        openings = iter(self._openings([part.opening for part in whole]))
        answers = iter(self._continuations([text for part in whole for text in part.answers]))
        between = iter(self._between([text for part in whole for text in part.between]))
        for part, result in zip(parts, encoded, strict=True):
            if part is not None:
                self._join(next(openings), len(part.answers), answers, between, result)
        return encoded

    def prompt(self, row: Row) -> list[int]:
        """The tokens before a row's last answer, from which generation begins.

        Raises:
            NotRendered: the chat template does not take the row.
        """
        if "messages" not in row:
            question, _ = cut(row["input"], self._input_limit, self._tokenizer)
            return encode_prompt(question, self._template)
        before, _ = split_off_answer(row["messages"])
        (encoded,) = self.encode([{"messages": [*before, {"role": ASSISTANT, "content": ""}]}])
        if encoded.problem:
            raise NotRendered(encoded.problem)
        return encoded.tokens[:-1]  # the empty answer's end token

    def _cut(self, rows: Sequence[Row], encoded: list[EncodedRow]) -> list[list[Message]]:
        """Each row's messages, cut to the limits: those of a pair are a question and an answer."""
        conversations = [_messages(row) for row in rows]
        for limit, is_answer in ((self._input_limit, False), (self._output_limit, True)):
            turns = [
                (number, message)
                for number, messages in enumerate(conversations)
                for message in messages
                if (message["role"] == ASSISTANT) == is_answer
                and may_exceed(message["content"], limit)
            ]
            for (number, message), (text, was_cut) in zip(
                turns, self._cut_texts([m["content"] for _, m in turns], limit), strict=True
            ):
                message["content"] = text
                if was_cut and is_answer:
                    encoded[number].output_cut = True
                elif was_cut:
                    encoded[number].input_cut = True
        return conversations

    def _cut_texts(self, texts: list[str], limit: int) -> list[tuple[str, bool]]:
        if not texts:
            return []
        offsets = self._tokenizer(
            texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        return [cut_at(text, limit, of) for text, of in zip(texts, offsets, strict=True)]

    def _parts(self, row: Row, messages: list[Message], result: EncodedRow) -> _Parts | None:
        template = self._template
        try:
            if "messages" not in row:
                question, answer = (message["content"] for message in messages)
                return _Parts(
                    template.render_prompt(question), [template.render_answer(answer)], []
                )
            around = template.render_around_answers(messages)
        except NotRendered as error:
            result.problem = str(error)
            return None
        answers = [m["content"] for m in messages if m["role"] == ASSISTANT]
        return _Parts(around[0], answers, around[1:-1])

    def _join(
        self,
        opening: list[int],
        count: int,
        answers: Iterator[list[int]],
        between: Iterator[list[int]],
        result: EncodedRow,
    ) -> None:
        for number in range(count):
            unlearned = next(between) if number else opening
            learned = [*next(answers), self._template.end_token_id]
            result.tokens += unlearned + learned
            result.learned += [False] * len(unlearned) + [True] * len(learned)

    def _openings(self, texts: list[str]) -> list[list[int]]:
        special = not self._template.chat
        return [
            opening_of(ids, self._template)
            for ids in token_ids(self._tokenizer, texts, add_special_tokens=special)
        ]

    def _continuations(self, texts: list[str]) -> list[list[int]]:
        """`encode_continuation` of each text."""
        whole = token_ids(self._tokenizer, [ANCHOR + text for text in texts])
        length = len(self._lead)
        alone = [i for i, ids in enumerate(whole) if ids[:length] != self._lead]
        found = [ids[length:] for ids in whole]
        for i, ids in zip(
            alone, token_ids(self._tokenizer, [texts[i] for i in alone]), strict=True
        ):
            found[i] = ids
        return found

    def _between(self, texts: list[str]) -> list[list[int]]:
        """What follows an answer's end token, which a chat template mostly writes itself."""
        whole = token_ids(self._tokenizer, [text.lstrip() for text in texts])
        end = self._template.end_token_id
        bare = [i for i, ids in enumerate(whole) if ids[:1] != [end]]
        found = [ids[1:] for ids in whole]
        for i, ids in zip(bare, self._continuations([texts[i] for i in bare]), strict=True):
            found[i] = ids
        return found


def _messages(row: Row) -> list[Message]:
    if "messages" in row:
        return [dict(message) for message in row["messages"]]
    return [
        {"role": "user", "content": row["input"]},
        {"role": ASSISTANT, "content": row.get("output", "")},
    ]


def token_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], add_special_tokens: bool = False
) -> list[list[int]]:
    """The ids of each text; none for none."""
    if not texts:
        return []
    found = tokenizer(
        list(texts),
        add_special_tokens=add_special_tokens,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # that a text is longer than the model is said elsewhere
    )
    return list(found["input_ids"])
