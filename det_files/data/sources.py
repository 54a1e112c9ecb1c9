"""Rows of a source by split: jsonl and text directories, and datasets of the hub.

Every row is `{"input": str, "output": str}` or `{"text": str}`; a test row may lack its output.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.faults import ConfigError, Fault, did_you_mean

Row = dict[str, str]
SPLITS = ("train", "val", "test")
SECTION = "hyperparameters.data_arguments.sources[0]"
_HUB_SPLITS = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}
_OTHER_NAMES = {"train": ("training",), "val": ("validation", "valid", "dev"), "test": ("testing",)}


@dataclass(frozen=True)
class Splits:
    """Rows of the three splits; `val_from_train` says that val was taken from train."""

    train: list[Row]
    val: list[Row]
    test: list[Row]
    val_from_train: bool = False


def read_splits(args: DataArguments, seed: int) -> Splits:
    """Reads the source; where it has no val split, a seeded share of train becomes one.

    Raises:
        ConfigError: a split or column is missing or empty, or rows are malformed; the first bad
            line is named with its file and number, and the others are counted.
    """
    source = args.sources[0]
    hub = _load_hub(source) if source.dataset_name else None
    splits = {
        name: _read_directory(source, name) if hub is None else _read_hub(source, hub, name)
        for name in SPLITS
    }
    train, val = splits["train"], splits["val"]
    if not train:
        what = source.path or source.dataset_name
        raise ConfigError(Fault(SECTION, f"{what} has no rows in its train split"))
    val_from_train = val is None
    if val is None:
        train, val = split_off(train, args.validation_split_percentage, seed)
    return Splits(
        _first(train, args.max_train_samples),
        _first(val, args.max_eval_samples),
        splits["test"] or [],
        val_from_train,
    )


def _first(rows: list[Row], count: int | None) -> list[Row]:
    return rows if count is None else rows[:count]


def split_off(rows: list[Row], percentage: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(rest, taken): a seeded choice of `percentage` per cent, at least one row, order kept."""
    if len(rows) < 2:
        raise ConfigError(
            Fault(SECTION, "there is no val split and one row in train: nothing to validate on")
        )
    count = min(len(rows) - 1, max(1, round(len(rows) * percentage / 100)))
    taken = set(random.Random(seed).sample(range(len(rows)), count))
    return (
        [row for i, row in enumerate(rows) if i not in taken],
        [row for i, row in enumerate(rows) if i in taken],
    )


def _read_directory(source: SourceArguments, split: str) -> list[Row] | None:
    """Rows of `<path>/<split>/*.jsonl` or `*.txt`; None where the split is absent."""
    root = Path(source.path or "")
    if not root.is_dir():
        near = sorted(p.name for p in root.parent.glob("*/")) if root.parent.is_dir() else []
        hint = did_you_mean(root.name, near)
        raise ConfigError(Fault(f"{SECTION}.path", f"{root} is no directory{hint}"))
    directory = root / split
    if not directory.is_dir():
        # Passed over, such a directory would not be missed: val would be taken from train.
        for other in _OTHER_NAMES[split]:
            if (root / other).is_dir():
                raise ConfigError(
                    Fault(f"{SECTION}.path", f"{root} has {other}/ but no {split}/: rename it")
                )
        if split == "train":
            there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
            raise ConfigError(Fault(f"{SECTION}.path", f"{root} has no train/ (it has: {there})"))
        return None
    files = sorted(directory.glob("*.jsonl"))
    texts = sorted(directory.glob("*.txt"))
    if not files and not texts:
        raise ConfigError(Fault(f"{SECTION}.path", f"{directory} has no *.jsonl and no *.txt"))
    if files and texts:
        raise ConfigError(Fault(f"{SECTION}.path", f"{directory} has both *.jsonl and *.txt"))
    if texts:
        return [{"text": _read_text(path)} for path in texts]
    return _read_jsonl(files, source.columns, output_needed=split != "test")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(Fault(SECTION, f"{path}: not UTF-8 (byte {error.start + 1})")) from error


def _read_jsonl(files: list[Path], columns: Mapping[str, str], output_needed: bool) -> list[Row]:
    rows: list[Row] = []
    bad: list[str] = []
    for path in files:
        for number, line in _lines(path):
            row, problem = parse_row(line, columns, output_needed)
            if row is not None and rows and ("text" in row) != ("text" in rows[0]):
                row, problem = None, "plain text and input/output rows cannot be mixed"
            if row is None:
                bad.append(f"{path}, line {number}: {problem}")
            else:
                rows.append(row)
    if bad:
        more = f" ({len(bad) - 1} more bad lines)" if len(bad) > 1 else ""
        raise ConfigError(Fault(SECTION, bad[0] + more))
    return rows


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, line


def parse_row(
    line: bytes, columns: Mapping[str, str], output_needed: bool
) -> tuple[Row | None, str]:
    """(row, "") of one jsonl line, or (None, what is wrong with it)."""
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 (byte {error.start + 1})"
    except json.JSONDecodeError as error:
        return None, f"no JSON: {error.msg}, column {error.colno}"
    if not isinstance(record, dict):
        return None, f"expected an object, got a {type(record).__name__}"
    return to_row(record, columns, output_needed)


def to_row(
    record: Mapping[str, Any], columns: Mapping[str, str], output_needed: bool
) -> tuple[Row | None, str]:
    """Maps a record's columns to a row's; strings only, and an input must not be missing."""
    roles = ("text",) if "text" in columns or _is_text(record, columns) else ("input", "output")
    row: Row = {}
    for role in roles:
        column = columns.get(role, role)
        value = record.get(column)
        if value is None and role == "output" and not output_needed:
            continue
        if value is None:
            return None, f'lacks "{column}"{did_you_mean(column, record)}'
        if not isinstance(value, str):
            return None, f'"{column}" is a {type(value).__name__}, expected a string'
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair
            return None, f'"{column}" holds half a character (\\u{ord(value[error.start]):x})'
        row[role] = value
    return row, ""


def _is_text(record: Mapping[str, Any], columns: Mapping[str, str]) -> bool:
    return not columns and "text" in record and "input" not in record


def _load_hub(source: SourceArguments) -> Mapping[str, Any]:
    """The dataset of the hub (or of its local cache), by split."""
    import datasets

    try:
        return datasets.load_dataset(source.dataset_name, source.dataset_config)
    except Exception as error:  # the library and its hub client raise many kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ConfigError(
            Fault(
                f"{SECTION}.dataset_name",
                f"{source.dataset_name} could not be loaded ({type(error).__name__}: {first}). "
                "Where nodes cannot reach the hub, download it once with HF_HOME on a shared "
                "directory and name the same HF_HOME in environment.environment_variables",
            )
        ) from error


def _read_hub(source: SourceArguments, found: Mapping[str, Any], split: str) -> list[Row] | None:
    """Rows of one split of a loaded dataset; None where the split is absent."""
    name = next((n for n in _HUB_SPLITS[split] if n in found), None)
    if name is None:
        if split == "train":
            there = ", ".join(found)
            reason = f"{source.dataset_name} has no train split (it has: {there})"
            raise ConfigError(Fault(f"{SECTION}.dataset_name", reason))
        return None
    rows = []
    for number, record in enumerate(found[name], 1):
        row, problem = to_row(record, source.columns, output_needed=split != "test")
        if row is None:
            columns = ", ".join(found[name].column_names)
            raise ConfigError(
                Fault(
                    f"{SECTION}.columns",
                    f"{source.dataset_name}, {name}, row {number}: {problem}; its columns are "
                    f"{columns}: map them with columns: {{input: …, output: …}}",
                )
            )
        rows.append(row)
    return rows
