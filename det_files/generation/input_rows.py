"""The rows that are to be answered: read, checked, and turned into the prompts of training.

*.jsonl, or a split of the run's sources -> InputRow (own fields, question) -> prompt [S]
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.rows import BadRows, Row, half_character, to_row
from det_files.data.sources import FileSplit, Split, open_source
from det_files.data.templates import NotRendered
from det_files.faults import ConfigError, Fault
from det_files.trained.prompts import Prompts

SUFFIXES = (".jsonl", ".jsonl.zst")


@dataclass(frozen=True)
class InputRow:
    """A row to answer.

    Attributes:
        number: from 1, in the order of the input.
        place: file and line.
        fields: the record as it was read.
        question: what a template takes of it.
        prompt: token ids [S], of which `cut` have been taken off at the left.
    """

    number: int
    place: str
    fields: Mapping[str, Any]
    question: Row
    prompt: Sequence[int] = field(default=(), repr=False)
    cut: int = 0


def open_input(path: Path, source: SourceArguments) -> list[Split]:
    """A file of rows, as a test split of a source, whose columns may be named in it.

    Raises:
        ConfigError: it is not there, or none of ours.
    """
    if not path.is_file():
        reason = "is a directory" if path.is_dir() else "no such file"
        raise ConfigError(Fault("INPUT", f"{path}: {reason}"))
    if not path.name.lower().endswith(SUFFIXES):
        raise ConfigError(Fault("INPUT", f"{path} is none of *{', *'.join(SUFFIXES)}"))
    return [FileSplit("INPUT", "test", source, (path,))]


def open_split(data: DataArguments, name: str, label: str | None) -> list[Split]:
    """A split of the run's sources, or of the one of that label, one behind the other.

    Raises:
        ConfigError: a source is gone, or none has such a split.
    """
    found = [
        splits[name]
        for number, source in enumerate(data.settled_sources())
        if label in (None, source.label)
        if name in (splits := open_source(source, number))
    ]
    if not found:
        raise ConfigError(Fault("--split", f"the run's sources have no {name} split"))
    return [dataclasses.replace(split, name="test") for split in found]  # answers may lack


def read_rows(
    splits: Sequence[Split], limit: int | None, reserved: Collection[str]
) -> list[InputRow]:
    """The (first `limit`) rows, none of which has a field of a reserved name.

    Raises:
        ConfigError: rows are bad, of which ten are named and all are counted; there are none.
    """
    rows: list[InputRow] = []
    for split in splits:
        rest = None if limit is None else limit - len(rows)
        for place, fields, question in _read(split, rest, reserved):
            rows.append(InputRow(len(rows) + 1, place, fields, question))
    if not rows:
        raise ConfigError(Fault("INPUT", "has no rows"))
    return rows


def _read(
    split: Split, limit: int | None, reserved: Collection[str]
) -> Iterator[tuple[str, Mapping[str, Any], Row]]:
    def make(record: Mapping[str, Any]) -> tuple[tuple[Mapping[str, Any], Row] | None, str]:
        taken = [name for name in record if name in reserved]
        if taken:
            return None, (
                f'has a field "{taken[0]}", which is one of the output\'s own: rename it'
                + ", or name the answers' with --answer-field" * (taken[0] == "answer")
            )
        row, problem = to_row(*_question(record, split.source.columns), complete=False)
        # The output holds the other fields, too, and is UTF-8.
        if row and (broken := half_character(json.dumps(record, ensure_ascii=False))):
            return None, broken
        return (None, problem) if row is None else ((record, row), "")

    for record, (fields, row) in split.read(make, limit):
        yield record.place, fields, row


def _question(
    record: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """The record without its right answer, and the columns to read it by.

    Those of the run's source, or where they are not there, input, messages and text themselves.
    """
    roles = ("input", "messages", "text")
    asked = next((columns[role] for role in roles if role in columns), "input")
    if asked not in record and any(role in record for role in roles):
        columns = {}
    answer = columns.get("output", "output")
    return {name: value for name, value in record.items() if name != answer}, columns


def with_prompts(rows: Sequence[InputRow], prompts: Prompts) -> list[InputRow]:
    """The rows with their prompts, whole.

    Raises:
        ConfigError: the chat template refuses some of them, or they have no tokens.
    """
    bad = BadRows("INPUT")
    made = []
    for row in rows:
        try:
            tokens = prompts.tokens(row.question)
        except NotRendered as error:
            bad.add(row.place, str(error))
            continue
        if not tokens:
            bad.add(row.place, "has no tokens: there is nothing to continue")
        made.append(dataclasses.replace(row, prompt=tokens))
    bad.raise_if_any()
    return made


def fit_prompts(rows: Sequence[InputRow], limit: int | None, cut_to: int | None) -> list[InputRow]:
    """The rows with prompts of at most `limit` tokens; longer ones are refused or cut at the left.

    Args:
        rows: with whole prompts.
        limit: tokens of the longest prompt behind which the model has room; None: any.
        cut_to: tokens that are kept of the end of a longer one; None: it is refused.

    Raises:
        ConfigError: some are longer and none is to be cut.
    """
    if limit is None:
        return list(rows)
    bad = BadRows("INPUT")
    fitted = []
    for row in rows:
        length = len(row.prompt)
        if length > limit and cut_to is None:
            bad.add(row.place, f"its prompt has {length} tokens, and the model takes {limit}")
        elif length > limit and cut_to is not None:
            row = dataclasses.replace(row, prompt=row.prompt[-cut_to:], cut=length - cut_to)
        fitted.append(row)
    bad.raise_if_any(["--too-long cut keeps the end of each"])
    return fitted
