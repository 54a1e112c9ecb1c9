"""Rows of directories and datasets: what is read, and what is said of what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from det_files.data.arguments import SourceArguments
from det_files.data.rows import Row
from det_files.data.sources import Split, open_source
from det_files.faults import ConfigError

GOOD = '{"input": "q", "output": "a"}'


def lay_out(root: Path, files: dict[str, str | bytes]) -> Path:
    """Files below a directory; every text ends with a line break."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return root


def open_splits(root: Path | str, **more: Any) -> dict[str, Split]:
    return open_source(SourceArguments(path=str(root), **more), 0)


def rows_of(root: Path | str, split: str = "train", **more: Any) -> list[Row]:
    return [placed.row for placed in open_splits(root, **more)[split].rows()]


def message(root: Path, split: str = "train", **more: Any) -> str:
    with pytest.raises(ConfigError) as error:
        rows_of(root, split, **more)
    for fault in error.value.faults:
        assert fault.path.startswith("hyperparameters.data_arguments.sources[0]")
    return str(error.value)


def jsonl(rows: int, start: int = 0) -> str:
    pairs = ({"input": f"q{i}", "output": f"a{i}"} for i in range(start, start + rows))
    return "\n".join(map(json.dumps, pairs))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"input": "q", ', "no JSON: Expecting property name"),
        (b'["q", "a"]', "expected an object, got a list"),
        (b'{"output": "a"}', 'lacks "input"'),
        (b'{"imput": "q", "output": "a"}', 'lacks "input"; did you mean "imput"?'),
        (b'{"input": null, "output": "a"}', 'lacks "input"'),
        (b'{"input": "q"}', 'lacks "output"'),
        (b'{"input": 3, "output": "a"}', '"input" is a int, expected a string'),
        (b'{"input": "q", "output": ["a"]}', '"output" is a list, expected a string'),
        (b'{"input": "\xe9", "output": "a"}', "not UTF-8 (byte 12)"),
        (b'{"input": "\\ud83d", "output": "a"}', '"input" holds half a character (\\ud83d)'),
        (b'{"text": "t"}', "plain text and other rows cannot be mixed"),
        (b'{"messages": []}', '"messages" is an empty list'),
    ],
)
def test_bad_lines_are_named(line: bytes, problem: str, tmp_path: Path) -> None:
    good = GOOD.encode()
    lay_out(
        tmp_path,
        {"train/a.jsonl": good, "train/b.jsonl": b"\n".join([good, b"", line, good, line])},
    )
    text = message(tmp_path)
    assert text.startswith("ConfigError: 2 faults")
    for number in (3, 5):
        assert f"{tmp_path}/train/b.jsonl, line {number}: {problem}" in text


def test_ten_bad_lines_are_named_and_all_are_counted(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train/a.jsonl": "\n".join([GOOD, *["{}"] * 14, "[]"])})
    *shown, last = message(tmp_path).splitlines()[1:]
    assert [f", line {n}: " in text for n, text in enumerate(shown, 2)] == [True] * 10
    assert last.endswith("15 bad rows in all; 5 are not shown")


def test_rows_of_all_files_in_order_blank_lines_and_bom_passed_over(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "train/b.jsonl": jsonl(1, 2),
            "train/a.jsonl": b"\xef\xbb\xbf" + jsonl(2).replace("\n", "\n \n").encode(),
            "val/v.jsonl": '{"input": "日本語 😀", "output": "é", "more": 1}',
            "test/t.jsonl": '{"input": "q"}\n{"input": "q", "output": "a"}',
        },
    )
    assert [row["input"] for row in rows_of(tmp_path)] == ["q0", "q1", "q2"]
    assert rows_of(tmp_path, "val") == [{"input": "日本語 😀", "output": "é"}]
    assert rows_of(tmp_path, "test") == [{"input": "q"}, {"input": "q", "output": "a"}]
    places = [placed.place for placed in open_splits(tmp_path)["train"].rows()]
    assert places[1:] == [f"{tmp_path}/train/a.jsonl, line 3", f"{tmp_path}/train/b.jsonl, line 1"]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"train/notes.md": "x"}, "train has none of *.jsonl, *.jsonl.zst, *.json, *.csv, "),
        ({"train/a.csv": GOOD, "train/b.txt": "x"}, "train has both text (b.txt) and rows (a.csv)"),
        ({"test/a.jsonl": GOOD, "readme": ""}, "has no train/ (it has: readme, test)"),
        ({"training/a.jsonl": GOOD}, "has training/ but no train/: rename it"),
        (
            {"train/a.jsonl": GOOD, "validation/a.jsonl": GOOD},
            "has validation/ but no val/: rename it",
        ),
        ({"train/a.txt": b"\xe9t\xe9"}, "a.txt: not UTF-8 (byte 1)"),
    ],
)
def test_what_a_directory_lacks_is_said(
    files: dict[str, str | bytes], problem: str, tmp_path: Path
) -> None:
    assert problem in message(lay_out(tmp_path, files))


def test_a_path_that_is_not_there_has_a_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    text = message(tmp_path / "quickstrat")
    assert 'quickstrat is neither a directory nor a file; did you mean "quickstart"?' in text
    assert "is neither a directory nor a file" in message(tmp_path / "no" / "where")


def test_a_file_is_a_train_split(tmp_path: Path) -> None:
    lay_out(tmp_path, {"rows.jsonl": jsonl(3), "notes.md": "x"})
    assert list(open_splits(tmp_path / "rows.jsonl")) == ["train"]
    assert len(rows_of(tmp_path / "rows.jsonl")) == 3
    assert "notes.md is none of *.jsonl" in message(tmp_path / "notes.md")


def test_files_of_several_formats_are_one_split(tmp_path: Path) -> None:
    csv = "output,input\na1,q1"
    listed = json.dumps([{"input": "q2", "output": "a2"}])
    lay_out(tmp_path, {"train/a.jsonl": jsonl(1), "train/b.csv": csv, "train/c.json": listed})
    assert rows_of(tmp_path) == [{"input": f"q{i}", "output": f"a{i}"} for i in range(3)]


def test_conversations_of_every_format_that_can_hold_them(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": turns, "id": 1}]
    lay_out(tmp_path, {"train/a.json": json.dumps(rows), "train/b.jsonl": json.dumps(rows[0])})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train" / "c.parquet")
    assert rows_of(tmp_path) == [{"messages": turns}] * 3
    lay_out(tmp_path, {"val/a.csv": "messages\nhello"})
    assert '"messages" is a str, expected a list of messages' in message(tmp_path, "val")


def test_columns_are_mapped(tmp_path: Path) -> None:
    rows = '{"q": "x", "a": "y", "input": "z"}\n' * 2
    lay_out(tmp_path, {"train/a.jsonl": rows, "val/a.jsonl": rows})
    assert rows_of(tmp_path, columns={"input": "q", "output": "a"})[0] == {
        "input": "x",
        "output": "y",
    }
    assert 'lacks "aa"' in message(tmp_path, columns={"input": "q", "output": "aa"})
    assert rows_of(tmp_path, columns={"text": "a"})[0] == {"text": "y"}


def test_text_files_are_documents(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train/b.txt": "two", "train/a.txt": "one\nline", "val/a.txt": "v"})
    assert rows_of(tmp_path) == [{"text": "one\nline\n"}, {"text": "two\n"}]


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train/a.jsonl": f"{jsonl(2)}\nnot JSON"})
    split = open_splits(tmp_path)["train"]
    assert [placed.row["input"] for placed in split.rows(2)] == ["q0", "q1"]
    with pytest.raises(ConfigError, match="line 3: no JSON"):
        list(split.rows(3))


def test_a_fingerprint_tells_contents_apart_and_not_places(tmp_path: Path) -> None:
    def fingerprint(root: Path) -> list[str]:
        return open_splits(root)["train"].fingerprint(None)

    for name, rows in (("a", 3), ("b", 3), ("c", 4)):
        lay_out(tmp_path / name, {"train/x.jsonl": jsonl(rows)})
    lay_out(tmp_path / "d", {"train/x.csv": jsonl(3)})
    a, b, c, d = (fingerprint(tmp_path / name) for name in "abcd")
    assert a == b
    assert len({tuple(found) for found in (a, c, d)}) == 3


# The datasets library itself, on a local directory instead of a hub id.

MATH = [
    {"role_1": "x", "topic;": "Algebra", "message_1": f"1+{i}?", "message_2": f"{1 + i}"}
    for i in range(20)
]
MATH_COLUMNS = {"input": "message_1", "output": "message_2"}


def open_hub(name: Path | str, columns: dict[str, str], **more: Any) -> dict[str, Split]:
    source = SourceArguments(dataset_name=str(name), columns=columns, **more)
    return open_source(source, 0)


def math_dataset(root: Path, *splits: str) -> Path:
    text = "\n".join(map(json.dumps, MATH))
    return lay_out(root / "math", {f"{split}.jsonl": text for split in splits})


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_of_the_library_with_mapped_columns(streaming: bool, tmp_path: Path) -> None:
    root = math_dataset(tmp_path, "train")
    splits = open_hub(root, MATH_COLUMNS, streaming=streaming)
    assert list(splits) == ["train"]
    rows = [placed.row for placed in splits["train"].rows()]
    assert rows == [{"input": row["message_1"], "output": row["message_2"]} for row in MATH]
    assert [placed.row for placed in splits["train"].rows(2)] == rows[:2]
    again = open_hub(root, MATH_COLUMNS, streaming=streaming)["train"]
    assert again.fingerprint(None) == splits["train"].fingerprint(None)
    other = math_dataset(tmp_path / "other", "train")
    with (other / "train.jsonl").open("a") as stream:
        stream.write(json.dumps(MATH[0]) + "\n")
    changed = open_hub(other, MATH_COLUMNS, streaming=streaming)["train"]
    assert changed.fingerprint(None) != splits["train"].fingerprint(None)


@pytest.mark.usefixtures("offline")
def test_splits_of_the_library(tmp_path: Path) -> None:
    splits = open_hub(math_dataset(tmp_path, "train", "validation", "test"), MATH_COLUMNS)
    assert {name: len(list(split.rows())) for name, split in splits.items()} == dict.fromkeys(
        ("train", "val", "test"), 20
    )


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("streaming", [False, True])
def test_faults_of_a_dataset_of_the_library(streaming: bool, tmp_path: Path) -> None:
    root = math_dataset(tmp_path, "train")
    with pytest.raises(ConfigError) as error:
        list(open_hub(root, {}, streaming=streaming)["train"].rows())
    assert 'train, row 1: lacks "input"' in str(error.value)
    assert "map them with columns: {input: …, output: …}" in str(error.value)
    if not streaming:
        assert "its columns are role_1, topic;, message_1, message_2" in str(error.value)
        assert "20 bad rows in all; 10 are not shown" in str(error.value)
    only_test = math_dataset(tmp_path / "other", "test")
    with pytest.raises(ConfigError, match=r"has no train split \(it has: test\)"):
        open_hub(only_test, MATH_COLUMNS, streaming=streaming)


@pytest.mark.usefixtures("offline")
def test_an_unreachable_hub_says_the_way_out() -> None:
    with pytest.raises(ConfigError) as error:
        open_hub("camel-ai/math", MATH_COLUMNS)
    text = str(error.value)
    assert text.startswith("ConfigError: hyperparameters.data_arguments.sources[0].dataset_name")
    assert "camel-ai/math could not be loaded" in text
    assert "download it once with HF_HOME" in text
