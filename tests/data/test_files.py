"""Files of every format: the same rows from each, and the place of whatever is wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from det_files.data import files, json_list
from det_files.data.files import data_files, read_records, suffix_of

ROWS = [{"input": f'q{i} 日本 😀\n,"', "output": f"a{i}"} for i in range(2500)]


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_zst(path: Path) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    # Two frames, as a file has that was appended to.
    half = len(text) // 2
    parts = (pa.compress(part, codec="zstd", asbytes=True) for part in (text[:half], text[half:]))
    path.write_bytes(b"".join(parts))


def write_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=2))


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["input", "output"])
        writer.writeheader()
        writer.writerows(ROWS)


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=700)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", write_jsonl),
        ("a.jsonl.zst", write_zst),
        ("a.json", write_json),
        ("a.csv", write_csv),
        ("a.parquet", write_parquet),
    ],
)
def test_every_format_gives_the_same_rows(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    records = list(read_records(path, {"input", "output"}))
    assert [record.values for record in records] == ROWS
    assert len({record.place for record in records}) == len(ROWS)


def problems(path: Path, content: str | bytes) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = [record for record in read_records(path) if record.values is None]
    return [f"{record.place}: {record.problem}".removeprefix(f"{path}") for record in found]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"a": "b"}\n{"a": "\xe9"}\n[1]\n', [", line 2: not UTF-8 (byte 8)"]),
        ("a.json", '{"a": "b"}', [": expected a list of objects"]),
        ("a.json", '[{"a": "b"}, 3, {"a": "c"}]', [", row 2: expected an object, got a int"]),
        ("a.json", '[{"a": "b"} {"a": "c"}]', [", row 1: no JSON: expected a comma"]),
        ("a.json", '[{"a": "b"},', [", row 2: no JSON: Expecting value"]),
        ("a.json", '[{"a": "b"}, {"a" "c"}]', [", row 2: no JSON: Expecting ':' delimiter"]),
        ("a.json", '[{"a": "b"}] x', [", row 1: no JSON: expected a comma"]),
        ("a.json", b'[{"a": "\xe9"}]', [": not UTF-8"]),
        ("a.csv", 'a,b\n1,2\n"x\ny",2\n1,2,3\n', [", line 5: 3 fields, and the header has 2"]),
        ("a.csv", b"a,b\n1,\xe9\n", [", line 2: not UTF-8"]),
        ("a.csv", "a,a\n1,2\n", [', line 1: the header has "a" twice']),
        ("a.csv", 'a,b\n1,"2\n', [", line 2: no CSV"]),
        ("a.parquet", "PAR1 no", [", row 1: damaged: "]),
        ("a.jsonl.zst", "nothing", [", behind line 0: damaged: "]),
        ("a.txt", b"one\nt\xe9o", [": not UTF-8 (byte 6)"]),
    ],
)
def test_what_is_wrong_has_its_place(
    name: str, content: str | bytes, expected: list[str], tmp_path: Path
) -> None:
    found = problems(tmp_path / name, content)
    assert found[0].startswith(expected[0])


def test_a_file_that_is_cut_off_gives_its_rows_and_then_says_so(tmp_path: Path) -> None:
    write_zst(tmp_path / "a.jsonl.zst")
    whole = (tmp_path / "a.jsonl.zst").read_bytes()
    (tmp_path / "a.jsonl.zst").write_bytes(whole[:-20])
    records = list(read_records(tmp_path / "a.jsonl.zst"))
    assert len(records) > 100
    assert "damaged" in records[-1].problem


def test_a_list_is_decoded_across_every_border_of_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"a": "x" * n, "b": [n, -1.5e3, True, None, "\\u00e9\n"]} for n in range(40)]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    for chunk in range(1, 60):
        monkeypatch.setattr(json_list, "_CHUNK", chunk)
        assert [record.values for record in read_records(tmp_path / "a.json")] == rows
    (tmp_path / "a.json").write_text(" [ ] \n")
    assert list(read_records(tmp_path / "a.json")) == []


def test_a_long_document_comes_in_pieces_that_begin_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE_CHARACTERS", 50)
    text = "".join(f"line {i}\n\n  indented {i}\r\n" for i in range(40)) + "end"
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    records = list(read_records(tmp_path / "a.txt"))
    pieces = [str((record.values or {})["text"]) for record in records]
    assert len(pieces) > 5
    assert "".join(pieces) == text.replace("\r\n", "\n")
    assert [record.continues for record in records] == [True] * (len(records) - 1) + [False]
    assert all(not piece[0].isspace() for piece in pieces)
    (tmp_path / "b.txt").write_text("x" * 500)  # there is nowhere to cut
    assert len(list(read_records(tmp_path / "b.txt"))) == 1


def test_only_wanted_columns_of_parquet_are_read(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"q": "x", "image": b"..."}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert [r.values for r in read_records(tmp_path / "a.parquet", {"q"})] == [{"q": "x"}]
    assert [r.values for r in read_records(tmp_path / "a.parquet", {"p"})] == rows


def test_files_are_found_by_suffix_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.CSV", "._b.jsonl", "notes.md", "c.zst"):
        (tmp_path / name).touch()
    assert [path.name for path in data_files(tmp_path)] == ["a.CSV", "b.jsonl"]
    assert suffix_of(Path("x.jsonl.zst")) == ".jsonl.zst"
