"""Splits of a source: which files, or which part of a hub dataset, train, val and test are.

A split holds no rows: they are read anew, one at a time, whenever they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from det_files.data.arguments import SECTION, SourceArguments
from det_files.data.digests import content_digest
from det_files.data.files import (
    TEXT_SUFFIX,
    Record,
    data_files,
    known_suffixes,
    read_records,
    suffix_of,
)
from det_files.data.rows import BadRows, PlacedRow, Row, is_text, to_row, wanted_columns
from det_files.faults import ConfigError, Fault, did_you_mean

Made = TypeVar("Made")

SPLITS = ("train", "val", "test")
_OTHER_NAMES = {"train": ("training",), "val": ("validation", "valid", "dev"), "test": ("testing",)}


@dataclass(frozen=True)
class Split:
    """One split of one source.

    Attributes:
        section: the source's place in the configuration.
        name: train, val or test.
        source: its arguments, with the section's values in them.
    """

    section: str
    name: str
    source: SourceArguments

    def rows(self, limit: int | None = None) -> Iterator[PlacedRow]:
        """Yields the (first `limit`) rows, as long as no bad one was met.

        Raises:
            ConfigError: rows are bad, of which ten are named and all are counted.
        """
        text: bool | None = None

        def row_of(values: Mapping[str, Any]) -> tuple[Row | None, str]:
            nonlocal text
            row, problem = to_row(values, self.source.columns, self.name != "test")
            if row is not None and text not in (None, is_text(row)):
                return None, "plain text and other rows cannot be mixed"
            text = text if row is None else is_text(row)
            return row, problem

        for record, row in self.read(row_of, limit):
            yield PlacedRow(record.place, row, record.continues)

    def read(
        self, make: Callable[[Mapping[str, Any]], tuple[Made | None, str]], limit: int | None
    ) -> Iterator[tuple[Record, Made]]:
        """Yields the (first `limit`) records with what `make` makes of their values.

        It returns None with what is wrong; None and nothing wrong pass a record over.

        Raises:
            ConfigError: records are bad, of which ten are named and all are counted.
        """
        bad = BadRows(self.section)
        count = 0
        for record in self.records():
            if limit is not None and count >= limit:
                break
            made, problem = None, record.problem
            if record.values is not None:
                made, problem = make(record.values)
            if made is None and problem:
                bad.add(record.place, problem)
                if bad.is_full and self.source.streaming:
                    break
            if made is None:
                continue
            count += not record.continues
            if not bad:
                yield record, made
        bad.raise_if_any(self.hints())

    def records(self) -> Iterator[Record]:
        """The records as they are stored."""
        raise NotImplementedError

    def fingerprint(self, notes: Path | None) -> list[str]:
        """What tells its content from any other; `notes` may keep digests of large files."""
        raise NotImplementedError

    def hints(self) -> list[str]:
        """What to say behind a list of bad rows."""
        return []


@dataclass(frozen=True)
class FileSplit(Split):
    """A split in files, one after another."""

    files: tuple[Path, ...]

    def records(self) -> Iterator[Record]:
        wanted = wanted_columns(self.source.columns)
        for path in self.files:
            yield from read_records(path, wanted)

    def fingerprint(self, notes: Path | None) -> list[str]:
        return [f"{suffix_of(path)} {content_digest(path, notes)}" for path in self.files]


def open_source(source: SourceArguments, number: int) -> dict[str, Split]:
    """The splits that a source has, by name; train is always among them.

    `number` counts the sources from 0.

    Raises:
        ConfigError: the source is not there, or a split of it is missing or unreadable.
    """
    section = f"{SECTION}.sources[{number}]"
    if source.dataset_name:
        from det_files.data.hub import open_dataset

        return dict(open_dataset(source, section))
    root = Path(source.path or "")
    if root.is_file():
        return {"train": FileSplit(section, "train", source, (_checked(root, section),))}
    if not root.is_dir():
        near = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
        reason = f"{root} is neither a directory nor a file{did_you_mean(root.name, sorted(near))}"
        raise ConfigError(Fault(f"{section}.path", reason))
    found: dict[str, Split] = {}
    for name in SPLITS:
        if files := _split_files(root, name, section):
            found[name] = FileSplit(section, name, source, files)
    return found


def _checked(path: Path, section: str) -> Path:
    if suffix_of(path) is None:
        raise ConfigError(Fault(f"{section}.path", f"{path} is none of {known_suffixes()}"))
    return path


def _split_files(root: Path, split: str, section: str) -> tuple[Path, ...]:
    """The files of `<root>/<split>/`; none where the split is absent."""
    directory = root / split
    if not directory.is_dir():
        # Passed over, such a directory would not be missed: val would be taken from train.
        for other in _OTHER_NAMES[split]:
            if (root / other).is_dir():
                reason = f"{root} has {other}/ but no {split}/: rename it"
                raise ConfigError(Fault(f"{section}.path", reason))
        if split == "train":
            there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
            raise ConfigError(Fault(f"{section}.path", f"{root} has no train/ (it has: {there})"))
        return ()
    files = data_files(directory)
    texts = [path for path in files if suffix_of(path) == TEXT_SUFFIX]
    if not files:
        raise ConfigError(Fault(f"{section}.path", f"{directory} has none of {known_suffixes()}"))
    if texts and len(texts) < len(files):
        other_file = next(path for path in files if path not in texts)
        reason = f"{directory} has both text ({texts[0].name}) and rows ({other_file.name})"
        raise ConfigError(Fault(f"{section}.path", reason))
    return tuple(files)
