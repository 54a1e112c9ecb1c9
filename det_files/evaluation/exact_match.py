"""Exact match of answers with their references: as strings, and as parsed JSON values.

Pure: strings in, numbers out. Strict, so that a match means what it says: the whole answer must be
one JSON value (RFC 8259: no NaN, no text around it), no key may stand twice, and values agree in
type as well (`12` is neither `"12"` nor `12.0`, `1` is not `true`). Blanks between the tokens of
the JSON text and the order of keys do not count.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn


class _NotJson:
    """The type of NOT_JSON, which equals nothing else, not even JSON's null."""

    def __repr__(self) -> str:
        return "NOT_JSON"


NOT_JSON = _NotJson()


@dataclass(frozen=True)
class ExactMatch:
    """Counts over all rows of a split."""

    rows: int
    objects_matched: int  # the answer's value is the reference's
    strings_matched: int  # the answer's text is the reference's
    json_answers: int  # the answer is JSON, matching or not

    def to_dict(self) -> dict[str, float | int]:
        """Counts and rates (0 to 1), with the names that summary.json uses."""
        return {
            "rows": self.rows,
            "exact_match": self.objects_matched / self.rows,
            "exact_match_count": self.objects_matched,
            "exact_string_match": self.strings_matched / self.rows,
            "exact_string_match_count": self.strings_matched,
            "valid_json": self.json_answers / self.rows,
            "valid_json_count": self.json_answers,
        }


def parse_strictly(text: str) -> Any:
    """Returns the JSON value that `text` is, or NOT_JSON."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return NOT_JSON


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def same_value(left: Any, right: Any) -> bool:
    """Whether two parsed JSON values agree, types included, at every depth."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_value(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    return bool(left == right)


def same_text(answer: str, reference: str) -> bool:
    """Whether two strings agree but for blanks around them."""
    return answer.strip() == reference.strip()


def same_object(answer: str, reference: str) -> bool:
    """Whether an answer states the reference's value.

    A reference that is not JSON has no value but its text, and is compared as such.
    """
    expected = parse_strictly(reference)
    if expected is NOT_JSON:
        return same_text(answer, reference)
    return same_value(parse_strictly(answer), expected)


def score(answers: Sequence[str], references: Sequence[str]) -> ExactMatch:
    """Returns the counts of a split; answer `i` belongs to reference `i`.

    Raises:
        ValueError: no rows, or not as many answers as references.
    """
    if len(answers) != len(references) or not answers:
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
    return ExactMatch(
        rows=len(answers),
        objects_matched=sum(map(same_object, answers, references)),
        strings_matched=sum(map(same_text, answers, references)),
        json_answers=sum(parse_strictly(answer) is not NOT_JSON for answer in answers),
    )
