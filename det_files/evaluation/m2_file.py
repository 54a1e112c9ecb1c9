"""Files of gold corrections, *.m2: sentences and what one or several annotators changed in them.

    S The cat sat at mat .
    A 3 4|||Prep|||on|||REQUIRED|||-NONE-|||0
    A 4 4|||ArtOrDet|||the||a|||REQUIRED|||-NONE-|||0
    A -1 -1|||noop|||-NONE-|||REQUIRED|||-NONE-|||1

An edit has the offsets of the tokens (split at blanks) it replaces, its type, its correction or
several between "||", two fields that nobody reads, and its annotator. `-NONE-` or nothing deletes;
a noop says that its annotator changes nothing. The format is that of m2scorer's README (Dahlmeier
and Ng 2012) and of CoNLL-2014.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from det_files.faults import ConfigError, Fault, Faults

MAX_FAULTS = 20  # listed of one file
NOTHING = "-NONE-"
_FIELDS = 6
_WHOLE = re.compile(r"-?\d+")


@dataclass(frozen=True)
class GoldEdit:
    """Tokens `start` to before `end` are replaced by any of the corrections; "" deletes them."""

    start: int
    end: int
    corrections: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class GoldSentence:
    """A source sentence's tokens, and the edits of each annotator by number; one at least.

    Edits are in the order of their offsets. A sentence without a line of edits has an annotator 0
    who changes nothing.
    """

    tokens: tuple[str, ...]
    annotators: dict[int, tuple[GoldEdit, ...]]
    line: int = 0  # of its source in the file, from 1

    @property
    def source(self) -> str:
        return " ".join(self.tokens)


class _Malformed(ValueError):
    """What is wrong with one line."""


def read_m2(path: Path) -> list[GoldSentence]:
    """Returns the sentences of a file.

    Raises:
        ConfigError: it cannot be read, has no sentences, or has malformed lines; each is named, up
            to MAX_FAULTS.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Fault(str(path), f"cannot be read: {error}")) from error
    return parse_m2(text.split("\n"), str(path))


def parse_m2(lines: Iterable[str], name: str = "m2") -> list[GoldSentence]:
    """Returns the sentences of a file's lines; `name` is what a fault calls the file.

    Raises:
        ConfigError: see `read_m2`.
    """
    faults = Faults()
    sentences: list[GoldSentence] = []
    for number, tokens, edits in _paragraphs(lines, name, faults):
        annotators: dict[int, list[GoldEdit]] = {}
        for line, text in edits:
            try:
                annotator, edit = _parse_edit(text, len(tokens))
            except _Malformed as error:
                faults.add(f"{name}:{line}", str(error))
                continue
            found = annotators.setdefault(annotator, [])
            if edit is not None:
                found.append(edit)
        # The system's edits come in this order too, and each may match one that comes later.
        ordered = {
            annotator: tuple(sorted(found, key=lambda edit: (edit.start, edit.end)))
            for annotator, found in (annotators or {0: []}).items()
        }
        sentences.append(GoldSentence(tokens, ordered, number))
    if not sentences:
        faults.add(name, 'has no sentences: no line starts with "S "')
    _raise(faults, name)
    return sentences


def _paragraphs(
    lines: Iterable[str], name: str, faults: Faults
) -> Iterator[tuple[int, tuple[str, ...], list[tuple[int, str]]]]:
    """(line, tokens, numbered lines of edits) of each sentence."""
    current: tuple[int, tuple[str, ...], list[tuple[int, str]]] | None = None
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        mark, _, rest = line.partition(" ")
        if not line.strip() or mark == "S":
            if current is not None:
                yield current
            current = (number, tuple(rest.split()), []) if mark == "S" else None
        elif mark != "A":
            faults.add(f"{name}:{number}", f'expected a line of S, A or nothing, got "{line[:40]}"')
        elif current is None:
            faults.add(f"{name}:{number}", "an edit (A) without a sentence (S) before it")
        else:
            current[2].append((number, rest))
    if current is not None:
        yield current


def _parse_edit(text: str, length: int) -> tuple[int, GoldEdit | None]:
    """(annotator, edit) of a line behind its "A "; None for a noop. `length`: tokens it is of."""
    fields = text.split("|||")
    if len(fields) != _FIELDS:
        raise _Malformed(f"an edit has {_FIELDS} fields between |||, got {len(fields)}")
    offsets, kind, corrections, *_, last = fields
    bounds = offsets.split()
    if len(bounds) != 2 or not all(map(_WHOLE.fullmatch, bounds)):
        raise _Malformed(f'expected two whole numbers as offsets, got "{offsets}"')
    if not _WHOLE.fullmatch(last.strip()):
        raise _Malformed(f'expected a whole number as annotator, got "{last}"')
    start, end = map(int, bounds)
    annotator = int(last)
    if kind == "noop" or (start, end) == (-1, -1):
        return annotator, None
    if not 0 <= start <= end <= length:
        reason = f"offsets {start} {end} are not within the sentence's {length} tokens"
        raise _Malformed(reason if start <= end else f"offset {start} is behind its end {end}")
    return annotator, GoldEdit(start, end, _corrections(corrections), kind)


def _corrections(field: str) -> tuple[str, ...]:
    choices = (" ".join(choice.split()) for choice in field.split("||"))
    return tuple(dict.fromkeys("" if choice == NOTHING else choice for choice in choices))


def _raise(faults: Faults, name: str) -> None:
    more = len(faults.found) - MAX_FAULTS
    if more > 0:
        del faults.found[MAX_FAULTS:]
        faults.add(name, f"and {more} more malformed lines")
    faults.raise_if_any(name if len(faults.found) > 1 else "")
