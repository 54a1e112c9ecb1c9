"""Files of answers are read as they were written, and bad lines are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from det_files.evaluation.metrics import Scored
from det_files.evaluation.predictions import (
    Fields,
    find_other_rows,
    read_predictions,
    to_record,
    write_records,
)
from det_files.faults import ConfigError


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    rows = [
        Scored("a?", "b\nc", "d", 3, True),
        Scored("e?", "", None),
        Scored("f", "g", "h", 1, False),
    ]
    records = [to_record(number, row, {"bleu": 1.5}) for number, row in enumerate(rows, 1)]
    write_records(tmp_path / "a.jsonl", records)
    found = read_predictions(tmp_path / "a.jsonl")
    assert [prediction.scored for prediction in found] == rows
    assert [prediction.row for prediction in found] == [1, 2, 3]


def test_rows_come_by_their_numbers_and_of_several_answers_the_first(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl",
        {"row": 7, "answer": "x", "sequence": 0},
        {"row": 2, "answer": "y", "sequence": 1},
        {"row": 2, "answer": "z", "sequence": 0},
    )
    assert [(p.row, p.scored.answer) for p in read_predictions(file)] == [(2, "z"), (7, "x")]
    assert [p.row for p in read_predictions(file, limit=1)] == [2]


def test_a_conversations_last_turn_is_the_reference(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    file = write(
        tmp_path / "a.jsonl",
        {"messages": turns, "answer": "hm"},
        {"messages": turns[:1], "answer": "hm"},
    )
    first, second = read_predictions(file)
    assert first.scored == Scored("hi", "hm", "ho")
    assert second.scored == Scored("hi", "hm", None)


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"input": "q", "said": "a", "answer": "right"})
    (found,) = read_predictions(file, fields=Fields("said", "answer"))
    assert found.scored == Scored("q", "a", "right")
    with pytest.raises(ConfigError, match='lacks "saids"; did you mean "said"'):
        read_predictions(file, fields=Fields("saids"))


def test_plain_lines_are_answers_even_where_they_are_empty(tmp_path: Path) -> None:
    file = tmp_path / "system.out"
    file.write_text("one\n\ntwo\n")
    found = read_predictions(file)
    assert [prediction.scored.answer for prediction in found] == ["one", "", "two"]
    assert found[2].place == f"{file}, line 3"


def test_bad_lines_are_named(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl",
        {"row": 0, "answer": "a"},
        {"row": 0, "answer": "b"},
        {"row": "1", "answer": "c"},
        {"row": 2, "answer": 5},
        {"row": 3, "answer": "d", "output": ["e"]},
        {"row": 4, "answer": "e", "num_generated_tokens": "few", "finish_reason": "stop"},
    )
    file.write_text(file.read_text() + "{\n")
    with pytest.raises(ConfigError) as caught:
        read_predictions(file)
    text = str(caught.value)
    for part in (
        f"line 2: answers row 0, as {file}, line 1 does",
        "line 3: \"row\" is '1', expected a whole number",
        'line 4: "answer" is a int, expected a string',
        'line 5: "output" is a list, expected a string',
        "line 6: \"num_generated_tokens\" is 'few', expected a whole number",
        "line 7: no JSON",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["absent.jsonl", "empty.jsonl", "empty.txt"])
def test_files_without_answers_are_refused(tmp_path: Path, name: str) -> None:
    if "empty" in name:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"no such file|has no answers"):
        read_predictions(tmp_path / name)


def test_files_of_other_rows_are_not_compared(tmp_path: Path) -> None:
    first = read_predictions(write(tmp_path / "a.jsonl", {"answer": "x", "output": "r"}))
    more = {"answer": "x", "output": "r"}
    second = read_predictions(write(tmp_path / "b.jsonl", more, more))
    third = read_predictions(write(tmp_path / "c.jsonl", {"answer": "x", "output": "s"}))
    assert find_other_rows(first, first) == ""
    assert "row 2 is in one of them" in find_other_rows(first, second)
    assert find_other_rows(first, third) == "row 1 has another reference in each file"
