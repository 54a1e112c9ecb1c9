"""Questions: rows of a split or a file as the prompts of training, with their right answers.

source or file -> AskedRow (row, place, formats) -> Question (prompt [S], right answer)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.data.arguments import SECTION, DataArguments, SourceArguments
from det_files.data.conversations import split_off_answer
from det_files.data.encoding import RowEncoder
from det_files.data.files import known_suffixes, suffix_of
from det_files.data.languages import set_languages
from det_files.data.rows import BadRows, Row, is_text
from det_files.data.source_target import SourceTargetEncoder
from det_files.data.sources import FileSplit, Split, open_source
from det_files.data.split_tokens import encoder_of
from det_files.data.templates import NotRendered, Template
from det_files.data.tokenization import encode_continuation
from det_files.faults import ConfigError, Fault
from det_files.trained.prompts import choose_source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from det_files.trained.pair import Pair


# An answer may be this much longer than the longest reference, for line breaks and indentation.
ROOM_FOR_ANSWERS = 1.5


@dataclass(frozen=True)
class AskedRow:
    """A row, its place and whose formats it has; a conversation asks for its last turn."""

    row: Row
    place: str
    source: SourceArguments

    @property
    def shown(self) -> str:
        """What a reader is shown of the question: the input, or the last thing that was said."""
        if "messages" in self.row:
            before, _ = split_off_answer(self.row["messages"])
            return before[-1]["content"] if before else ""
        return str(self.row["text"] if is_text(self.row) else self.row["input"])

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
    reference: str | None
    reference_tokens: int


def read_test_rows(args: DataArguments, limit: int | None = None) -> list[AskedRow]:
    """Returns the (first `limit`) rows of the sources' test splits, one source behind the other.

    Raises:
        ConfigError: there are none, they are bad, or they lack answers to compare with.
    """
    rows = read_split(args, "test", limit)
    lacking = next((row for row in rows if row.answer is None), None)
    if lacking is not None:
        reason = f"test rows lack their output, the first of them {lacking.place}"
        raise ConfigError(Fault(f"{SECTION}.sources", reason))
    return rows


def read_split(args: DataArguments, name: str, limit: int | None = None) -> list[AskedRow]:
    """Returns the (first `limit`) rows of a split of the sources, one source behind the other.

    Raises:
        ConfigError: there are none, or they are bad.
    """
    rows: list[AskedRow] = []
    for number, source in enumerate(args.settled_sources()):
        rest = None if limit is None else limit - len(rows)
        rows += split_rows(source, number, name, rest)
    if not rows:
        raise ConfigError(Fault(f"{SECTION}.sources", f"the {name} split has no rows"))
    return rows


def split_rows(
    source: SourceArguments, number: int, name: str, limit: int | None = None
) -> list[AskedRow]:
    """Returns the (first `limit`) rows of a split of one source; none where it has no such split.

    Raises:
        ConfigError: they are bad, or the source, the `number`-th of its run, is not there.
    """
    split = open_source(source, number).get(name)
    return [] if split is None else _asked(split, source, limit)


def read_file(path: Path, source: SourceArguments, limit: int | None = None) -> list[AskedRow]:
    """Returns the (first `limit`) rows of a file, which has the columns and formats of a source.

    Raises:
        ConfigError: it cannot be read, has no rows, or they are bad.
    """
    if not path.is_file() or suffix_of(path) is None:
        reason = f"is no file of {known_suffixes()}"
        raise ConfigError(Fault(str(path), reason))
    # Rows of a test split may lack their answers.
    rows = _asked(FileSplit(str(path), "test", source, (path,)), source, limit)
    if not rows:
        raise ConfigError(Fault(str(path), "has no rows"))
    return rows


def _asked(split: Split, source: SourceArguments, limit: int | None) -> list[AskedRow]:
    """A document that comes in pieces is put together."""
    rows: list[AskedRow] = []
    continues = False
    for place, row, more in split.rows(limit):
        if continues:
            text = rows[-1].row["text"] + row["text"]
            rows[-1] = AskedRow({"text": text}, rows[-1].place, source)
        else:
            rows.append(AskedRow(row, place, source))
        continues = more
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
        ConfigError: the chat template does not take some rows, or they have no tokens; or the
            tokenizer does not know a language.
    """
    set_languages(tokenizer, args.source_language, args.target_language)
    made: dict[int, tuple[Template, RowEncoder | SourceTargetEncoder]] = {}
    questions: list[Question] = []
    bad, empty = BadRows(f"{SECTION}.chat_template"), BadRows(f"{SECTION}.sources")
    for row in rows:
        if id(row.source) not in made:
            template = Template.of(args, tokenizer, row.source, separate)
            made[id(row.source)] = template, encoder_of(row.source, template)
        template, encoder = made[id(row.source)]
        try:
            prompt = encoder.prompt(row.row)
        except NotRendered as error:
            bad.add(row.place, str(error))
            continue
        if not prompt:
            empty.add(row.place, "the prompt has no tokens: there is nothing to answer")
        reference = row.answer
        if reference is not None and "messages" not in row.row:
            reference = template.render_answer(reference)
        length = len(encode_continuation(reference, tokenizer)) if reference else 0
        questions.append(Question(prompt, reference, length))
    for found in (bad, empty):
        found.raise_if_any()
    return questions


def answerable_rows(pair: Pair, limit: int | None = None) -> list[AskedRow]:
    """Returns the (first `limit`) test rows of a pair's run, by which its models are compared.

    Raises:
        ConfigError: see `read_test_rows`; the run learned from rows that have no right answer.
    """
    if pair.checkpoint.preference_method == "kto":
        reason = "kto learns from marked answers, none of which is right: nothing can be compared"
        raise ConfigError(Fault(str(pair.checkpoint.path), reason))
    return read_test_rows(pair.data, limit)


def asked_uncut(rows: Sequence[AskedRow], args: DataArguments) -> list[AskedRow]:
    """Returns the rows with the formats that they have in a run of `args`, prompts left whole.

    Rows of its own sources have these formats already. Those of another run's have the formats of
    the source of that name, or of the one that speaks for all.

    Raises:
        ConfigError: there is none that does.
    """
    uncut: dict[int, SourceArguments] = {}  # by identity: all rows of a source share it
    for row in rows:
        if id(row.source) not in uncut:
            formats = _formats_for(row.source, args)
            uncut[id(row.source)] = replace(formats, max_input_tokens=None)
    return [replace(row, source=uncut[id(row.source)]) for row in rows]


def _formats_for(source: SourceArguments, args: DataArguments) -> SourceArguments:
    own = args.settled_sources()
    if source in own:
        return source
    namesakes = [one for one in own if one.label == source.label]
    if len(namesakes) == 1:
        return namesakes[0]
    try:
        return choose_source(args, None)
    except ConfigError as error:
        reason = f"have formats of their own, and not one of them is called {source.label}"
        raise ConfigError(Fault(f"{SECTION}.sources", reason)) from error


def questions_to(pair: Pair, rows: Sequence[AskedRow]) -> list[Question]:
    """Returns the rows as training puts them to the models of a pair, but whole.

    What may be asked is bounded by the model's context alone, not by `max_input_tokens`.

    Raises:
        ConfigError: see `make_questions` and `asked_uncut`.
    """
    asked = asked_uncut(rows, pair.data)
    return make_questions(asked, pair.data, pair.tokenizer, pair.is_seq2seq)


def answer_limit(reference_tokens: Iterable[int]) -> int:
    """Returns how many tokens an answer may have, by the lengths of the right ones.

    Raises:
        ValueError: there are none.
    """
    return int(max(reference_tokens) * ROOM_FOR_ANSWERS) + 1  # one for the end token
