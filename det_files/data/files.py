"""Files of rows, read one record at a time, each with its place: `rows.jsonl, line 7`.

    .jsonl .jsonl.zst   one JSON object a line
    .json               one list of objects
    .csv                a header, then a row a record; every value is a string
    .parquet            read in batches
    .txt                one document a file

However large a file is, one record (one batch of parquet) of it is in memory at a time.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

from det_files.data.json_list import list_items

TEXT_SUFFIX = ".txt"
# Characters of a long document that are handed on at once.
PIECE_CHARACTERS = 1_000_000
_CSV_FIELD_LIMIT = 2**31 - 1  # characters; the module's own limit is 131,072


class Record(NamedTuple):
    """What stands at a place: a mapping, or what is wrong there.

    `continues` marks a piece of a document that goes on with the next record.
    """

    place: str
    values: Mapping[str, Any] | None
    problem: str = ""
    continues: bool = False


def suffix_of(path: Path) -> str | None:
    """The suffix by which a file is read, or None where it is none of ours."""
    name = path.name.lower()
    return next((suffix for suffix in _READERS if name.endswith(suffix)), None)


def known_suffixes() -> str:
    """All suffixes, as a message names them."""
    return ", ".join(f"*{suffix}" for suffix in _READERS)


def data_files(directory: Path) -> list[Path]:
    """The files of a directory that can be read, by name; hidden ones are passed over."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file() and not path.name.startswith(".") and suffix_of(path)
    )


def read_records(path: Path, columns: Collection[str] = ()) -> Iterator[Record]:
    """Yields the file's records in order; what cannot be read is a record with a problem.

    Args:
        path: with one of our suffixes.
        columns: those that matter, where a format can read some alone; none: all.

    Raises:
        OSError: the file cannot be opened.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise ValueError(f"{path}: not one of {known_suffixes()}")
    yield from _READERS[suffix](path, columns)


def parse_object(line: bytes) -> tuple[Mapping[str, Any] | None, str]:
    """(object, "") of one line of JSON, or (None, what is wrong with it)."""
    try:
        value = json.loads(line.decode("utf-8-sig").rstrip())
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 (byte {error.start + 1})"
    except json.JSONDecodeError as error:
        return None, f"no JSON: {error.msg}, column {error.colno}"
    except RecursionError:
        return None, "no JSON: nested too deeply"
    return _as_object(value)


def _as_object(value: Any) -> tuple[Mapping[str, Any] | None, str]:
    if isinstance(value, dict):
        return value, ""
    return None, f"expected an object, got a {type(value).__name__}"


def _jsonl(path: Path, columns: Collection[str]) -> Iterator[Record]:
    with path.open("rb") as stream:
        yield from _json_lines(path, stream)


def _jsonl_zst(path: Path, columns: Collection[str]) -> Iterator[Record]:
    import pyarrow as pa

    with pa.OSFile(str(path), "rb") as file, pa.CompressedInputStream(file, "zstd") as stream:
        yield from _json_lines(path, io.BufferedReader(cast(io.RawIOBase, stream), 1 << 16))


def _json_lines(path: Path, stream: BinaryIO | io.BufferedReader) -> Iterator[Record]:
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield Record(f"{path}, line {number}", *parse_object(line))
    except OSError as error:  # pyarrow's, of a file that is cut off or not zstd at all
        yield Record(f"{path}, behind line {number}", None, f"damaged: {error}")


def _json(path: Path, columns: Collection[str]) -> Iterator[Record]:
    """The objects of one list, decoded one by one: a list as a whole may not fit in memory."""
    with path.open(encoding="utf-8-sig") as stream:
        try:
            for number, value, problem in list_items(stream):
                place = f"{path}, row {number}" if number else str(path)
                yield Record(place, None, problem) if problem else Record(place, *_as_object(value))
        except UnicodeDecodeError as error:
            yield Record(str(path), None, f"not UTF-8 ({error.reason})")


def _csv(path: Path, columns: Collection[str]) -> Iterator[Record]:
    csv.field_size_limit(_CSV_FIELD_LIMIT)
    # Bytes that are no UTF-8 become half characters, so that their line can be named.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        header: list[str] | None = None
        line = 1
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(f"{path}, line {line}", None, f"no CSV: {error}")
                return
            place, line = f"{path}, line {line}", reader.line_num + 1
            if header is None:
                header = values
                twice = {name for name in header if header.count(name) > 1}
                if twice:
                    yield Record(place, None, f'the header has "{min(twice)}" twice')
                    return
            elif values:  # an empty line is none
                yield Record(place, *_csv_row(header, values))


def _csv_row(header: list[str], values: list[str]) -> tuple[Mapping[str, Any] | None, str]:
    if len(values) != len(header):
        return None, f"{len(values)} fields, and the header has {len(header)}"
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError:
        return None, "not UTF-8"
    return dict(zip(header, values, strict=True)), ""


def _parquet(path: Path, columns: Collection[str]) -> Iterator[Record]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name in columns]
            # All, where none of them is there: the message about it names what is.
            for batch in file.iter_batches(batch_size=1000, columns=names or None):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(f"{path}, row {number}", values)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else repr(error)
        yield Record(f"{path}, row {number + 1}", None, f"damaged: {first}")


def _txt(path: Path, columns: Collection[str]) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig") as stream:
        try:
            for piece, is_last in _pieces(stream):
                yield Record(str(path), {"text": piece}, continues=not is_last)
        except UnicodeDecodeError as error:
            yield Record(str(path), None, _no_utf8(path) or f"not UTF-8 ({error.reason})")


def _pieces(stream: TextIO) -> Iterator[tuple[str, bool]]:
    """(text, whether it is the last) of a document, cut where a line begins with a word.

    No tokenizer that splits text into words has a token across such a place.
    """
    held = stream.read(PIECE_CHARACTERS)
    while more := stream.read(PIECE_CHARACTERS):
        at = _last_line_of_words(held)
        if at:
            yield held[:at], False
        held = held[at:] + more
    yield held, True


def _last_line_of_words(text: str) -> int:
    """Where the last line begins that does not begin with a blank; 0 where there is none."""
    at = text.rfind("\n")
    while at > 0 and (at + 1 >= len(text) or text[at + 1].isspace()):
        at = text.rfind("\n", 0, at)
    return at + 1 if at > 0 else 0


def _no_utf8(path: Path) -> str:
    """The byte where a file stops being UTF-8, which reading by pieces does not tell."""
    at = 0
    with path.open("rb") as stream:
        for line in stream:
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"not UTF-8 (byte {at + error.start + 1})"
            at += len(line)
    return ""


# The longest suffix first: .jsonl.zst is no .zst of anything.
_READERS: dict[str, Callable[[Path, Collection[str]], Iterator[Record]]] = {
    ".jsonl": _jsonl,
    ".jsonl.zst": _jsonl_zst,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    TEXT_SUFFIX: _txt,
}
