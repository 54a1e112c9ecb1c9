"""Questions: the rows of the test split as the prompts of training, with their right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from det_files.data.arguments import SECTION, DataArguments, SourceArguments
from det_files.data.conversations import split_off_answer
from det_files.data.encoding import RowEncoder
from det_files.data.languages import set_languages
from det_files.data.rows import Row
from det_files.data.source_target import SourceTargetEncoder
from det_files.data.sources import open_source
from det_files.data.split_tokens import encoder_of
from det_files.data.templates import NotRendered, Template
from det_files.data.tokenization import encode_continuation
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class AskedRow:
    """A row of the test split, its place and its source; a conversation asks for its last turn."""

    row: Row
    place: str
    source: SourceArguments

    @property
    def shown(self) -> str:
        """What a reader is shown of the question: the input, or the last thing that was said."""
        if "messages" in self.row:
            before, _ = split_off_answer(self.row["messages"])
            return before[-1]["content"] if before else ""
        return str(self.row["input"])

    @property
    def answer(self) -> str | None:
        """The right answer as it stands in the row; None where there is none."""
        if "messages" in self.row:
            return split_off_answer(self.row["messages"])[1]
        return self.row.get("output")


@dataclass(frozen=True)
class Question:
    """A prompt's token ids, and the answer that is right, as text and in tokens."""

    prompt: list[int]
    reference: str
    reference_tokens: int


def read_test_rows(args: DataArguments, limit: int | None = None) -> list[AskedRow]:
    """Returns the (first `limit`) rows of the sources' test splits, one source behind the other.

    Raises:
        ConfigError: there are none, or they lack answers to compare with.
    """
    rows: list[AskedRow] = []
    for number, source in enumerate(args.settled_sources()):
        split = open_source(source, number).get("test")
        if split is not None:
            rest = None if limit is None else limit - len(rows)
            rows += [AskedRow(row, place, source) for place, row, _ in split.rows(rest)]
    if not rows:
        raise ConfigError(Fault(f"{SECTION}.sources", "the test split has no rows"))
    lacking = next((row for row in rows if row.answer is None), None)
    if lacking is not None:
        reason = f"test rows lack their output, the first of them {lacking.place}"
        raise ConfigError(Fault(f"{SECTION}.sources", reason))
    return rows


def make_questions(
    rows: Sequence[AskedRow],
    args: DataArguments,
    tokenizer: PreTrainedTokenizerBase,
    separate: bool = False,
) -> list[Question]:
    """Returns the rows' prompts, as training has them, and their answers.

    `separate` is of encoder-decoder models, whose encoder reads the prompt.

    Raises:
        ConfigError: the chat template does not take a row, or the tokenizer a language.
    """
    set_languages(tokenizer, args.source_language, args.target_language)
    made: dict[int, tuple[Template, RowEncoder | SourceTargetEncoder]] = {}
    questions = []
    for row in rows:
        if id(row.source) not in made:
            template = Template.of(args, tokenizer, row.source, separate)
            made[id(row.source)] = template, encoder_of(row.source, template)
        template, encoder = made[id(row.source)]
        try:
            prompt = encoder.prompt(row.row)
        except NotRendered as error:
            reason = f"{row.place}: {error}"
            raise ConfigError(Fault(f"{SECTION}.chat_template", reason)) from error
        answer = row.answer or ""
        is_pair = "messages" not in row.row
        reference = template.render_answer(answer) if is_pair else answer
        length = len(encode_continuation(reference, tokenizer))
        questions.append(Question(prompt, reference, length))
    return questions
