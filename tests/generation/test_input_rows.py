"""Rows are read by the columns of the run or their own, and every bad one is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.faults import ConfigError
from det_files.generation.input_rows import (
    InputRow,
    fit_prompts,
    open_input,
    open_split,
    read_rows,
)

RESERVED = ("row", "answer")
PLAIN = SourceArguments(path="data")


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def read(path: Path, source: SourceArguments = PLAIN, limit: int | None = None) -> list[InputRow]:
    return read_rows(open_input(path, source), limit, RESERVED)


def test_rows_keep_their_fields_and_become_questions(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hm"}]
    given: list[dict[str, Any]] = [
        {"input": "a", "output": ["several", "answers"], "id": 7},
        {"messages": messages},
        {"text": "once"},
    ]
    rows = read(write(tmp_path / "in.jsonl", *given))
    assert [row.fields for row in rows] == given
    assert [row.question for row in rows] == [{"input": "a"}, {"messages": messages}, given[2]]
    assert [row.number for row in rows] == [1, 2, 3]
    assert rows[2].place.endswith("in.jsonl, line 3")


def test_columns_of_the_run_hold_where_they_are(tmp_path: Path) -> None:
    source = SourceArguments(path="data", columns={"input": "question", "output": "solution"})
    rows = read(
        write(tmp_path / "in.jsonl", {"question": "a", "solution": 4}, {"input": "b"}), source
    )
    assert [row.question for row in rows] == [{"input": "a"}, {"input": "b"}]
    with pytest.raises(ConfigError, match='lacks "question"'):
        read(write(tmp_path / "in.jsonl", {"query": "a"}), source)


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"input": "a"}\nnot json\n{"input": 3}\n{"input": "b", "row": 1}\n{}\n')
    with pytest.raises(ConfigError) as raised:
        read(path)
    text = str(raised.value)
    for number, problem in ((2, "no JSON"), (3, "is a int"), (4, '"row"'), (5, 'lacks "input"')):
        assert any(f"line {number}:" in row and problem in row for row in text.splitlines()), text
    with pytest.raises(ConfigError, match="30 bad rows in all; 20 are not shown"):
        read(write(path, *[{}] * 30))


def test_a_field_that_no_file_can_hold_is_a_bad_row(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", {"input": "a"}, {"input": "b", "notes": ["\ud83d"]})
    with pytest.raises(ConfigError, match=r"in.jsonl, line 2: holds half a character \(.ud83d"):
        read(path)


def test_a_gold_answer_in_the_field_of_the_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 1: .*--answer-field"):
        read(write(tmp_path / "in.jsonl", {"input": "a", "answer": "gold"}))


def test_what_is_no_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        open_input(tmp_path / "in.jsonl", PLAIN)
    with pytest.raises(ConfigError, match="is a directory"):
        open_input(tmp_path, PLAIN)
    with pytest.raises(ConfigError, match=r"is none of \*.jsonl"):
        open_input(write(tmp_path / "in.txt"), PLAIN)
    with pytest.raises(ConfigError, match="has no rows"):
        read(write(tmp_path / "in.jsonl"))


def test_a_split_of_the_run(tiny_data: Path, tmp_path: Path) -> None:
    one = SourceArguments(path=str(tiny_data), name="one")
    write(tmp_path / "train.jsonl", {"input": "a", "output": "b"})
    data = DataArguments(sources=[one, SourceArguments(path=str(tmp_path / "train.jsonl"))])
    assert len(read_rows(open_split(data, "test", None), None, RESERVED)) == 5
    assert len(read_rows(open_split(data, "test", "one"), 3, RESERVED)) == 3
    assert len(read_rows(open_split(data, "train", None), None, RESERVED)) == 41
    with pytest.raises(ConfigError, match="have no test split"):
        open_split(data, "test", "train.jsonl")


def rows_of(*lengths: int) -> list[InputRow]:
    return [
        InputRow(number, f"in, line {number}", {}, {}, list(range(length)))
        for number, length in enumerate(lengths, 1)
    ]


def test_long_prompts_are_refused_by_line_or_keep_their_end() -> None:
    rows = rows_of(5, 6, 4, 9)
    with pytest.raises(ConfigError) as raised:
        fit_prompts(rows, 5, None)
    assert [str(fault) for fault in raised.value.faults] == [
        "INPUT: in, line 2: its prompt has 6 tokens, and the model takes 5",
        "INPUT: in, line 4: its prompt has 9 tokens, and the model takes 5",
        "INPUT: --too-long cut keeps the end of each",
    ]
    cut = fit_prompts(rows, 5, 3)
    assert [list(row.prompt) for row in cut] == [
        [0, 1, 2, 3, 4],
        [3, 4, 5],
        [0, 1, 2, 3],
        [6, 7, 8],
    ]
    assert [row.cut for row in cut] == [0, 3, 0, 6]
    assert fit_prompts(rows, None, 3) == rows
