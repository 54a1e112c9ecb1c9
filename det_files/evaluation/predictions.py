"""Files of answers: those that `det_files.generate` and an evaluation write, and plain lines.

A line of *.jsonl has "answer", and besides it what is known of the row: its number ("row"), its
"input" or "messages", the reference ("output"), "num_generated_tokens" and "finish_reason". Answer
and reference may have other names. A file with any other suffix is text, an answer a line, as
scorers of corrections take it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.data.conversations import split_off_answer
from det_files.data.files import read_records
from det_files.data.rows import BadRows, conversation
from det_files.evaluation.metrics import Scored
from det_files.faults import ConfigError, Fault, did_you_mean
from det_files.generation.answers import LENGTH

SUFFIXES = (".jsonl", ".jsonl.zst")

ANSWER, REFERENCE = "answer", "output"


@dataclass(frozen=True)
class Fields:
    """What a file calls the answer and the reference of a row."""

    answer: str = ANSWER
    reference: str = REFERENCE


_OURS = Fields()


@dataclass(frozen=True)
class Prediction:
    """An answer, its place in the file, and the number of its row, from 1."""

    row: int
    place: str
    scored: Scored


def name_in_files(title: str) -> str:
    """What is called by a title, or by a path, as a part of a file's name."""
    return title.removesuffix(".jsonl").replace("/", "_")


def read_predictions(
    path: Path, limit: int | None = None, fields: Fields = _OURS
) -> list[Prediction]:
    """Returns the answers of a file by their rows' numbers; of several to one row, the first.

    Raises:
        ConfigError: it cannot be read, has no answers, or lines of it are bad.
    """
    if not path.is_file():
        raise ConfigError(Fault(str(path), "no such file"))
    is_json = path.name.lower().endswith(SUFFIXES)
    found = _read_json(path, fields) if is_json else _read_lines(path)
    if not found:
        raise ConfigError(Fault(str(path), "has no answers"))
    return sorted(found, key=lambda prediction: prediction.row)[:limit]


def find_other_rows(first: Sequence[Prediction], second: Sequence[Prediction]) -> str:
    """What forbids a comparison row by row of two files; "" where nothing does."""
    mine, other = ({p.row: p.scored for p in found} for found in (first, second))
    if mine.keys() != other.keys():
        odd = min(mine.keys() ^ other.keys())
        counts = f"{len(mine)} and {len(other)} rows"
        return f"the files answer other rows ({counts}): row {odd} is in one of them"
    for row, scored in mine.items():
        if scored.reference != other[row].reference:
            return f"row {row} has another reference in each file"
    return ""


def to_record(row: int, scored: Scored, scores: Mapping[str, float]) -> dict[str, Any]:
    """A line of a file that `read_predictions` reads, with the row's own score by each metric."""
    record: dict[str, Any] = {"row": row, "input": scored.input, ANSWER: scored.answer}
    if scored.reference is not None:
        record[REFERENCE] = scored.reference
    if scored.tokens is not None:
        record["num_generated_tokens"] = scored.tokens
        record["finish_reason"] = LENGTH if scored.cut_off else "stop"
    return record | {"scores": dict(scores)}


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes a line a record."""
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


def _read_lines(path: Path) -> list[Prediction]:
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(Fault(str(path), f"not UTF-8 (byte {error.start + 1})")) from error
    if lines == [""]:
        return []
    return [
        Prediction(number, f"{path}, line {number}", Scored("", line))
        for number, line in enumerate(lines, 1)
    ]


def _read_json(path: Path, fields: Fields) -> list[Prediction]:
    bad, found, taken = BadRows("--predictions"), [], dict[int, str]()
    for number, record in enumerate(read_records(path), 1):
        scored, problem = None, record.problem
        if record.values is not None:
            if record.values.get("sequence", 0):
                continue
            scored, problem = _scored(record.values, fields)
        row = number if record.values is None else record.values.get("row", number)
        if not problem and (not isinstance(row, int) or isinstance(row, bool)):
            problem = f'"row" is {row!r}, expected a whole number'
        elif not problem and row in taken:
            problem = f"answers row {row}, as {taken[row]} does"
        if problem or scored is None:
            bad.add(record.place, problem)
            continue
        taken[row] = record.place
        found.append(Prediction(row, record.place, scored))
    bad.raise_if_any()
    return found


def _scored(values: Mapping[str, Any], fields: Fields) -> tuple[Scored | None, str]:
    """(what is to be scored, "") of a line, or (None, what is wrong with it)."""
    answer = values.get(fields.answer)
    if answer is None:
        return None, f'lacks "{fields.answer}"{did_you_mean(fields.answer, values)}'
    if not isinstance(answer, str):
        return None, f'"{fields.answer}" is a {type(answer).__name__}, expected a string'
    asked, reference = values.get("input", ""), values.get(fields.reference)
    if "messages" in values:
        row, problem = conversation("messages", values["messages"], complete=False)
        if row is None:
            return None, problem
        before, last = split_off_answer(row["messages"])
        reference = last if reference is None else reference
        asked = before[-1]["content"] if before else ""
    if reference is not None and not isinstance(reference, str):
        return None, f'"{fields.reference}" is a {type(reference).__name__}, expected a string'
    tokens, reason = values.get("num_generated_tokens"), values.get("finish_reason")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool)):
        return None, f'"num_generated_tokens" is {tokens!r}, expected a whole number'
    cut_off = None if reason is None else reason == LENGTH
    return Scored(str(asked), answer, reference, tokens, cut_off), ""
