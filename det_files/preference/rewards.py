"""Rewards of answers that can be checked: a name in an experiment file → a function.

A reward takes an answer and its row's reference and gives 0 (wrong) to 1 (right); what is partly
right lies between, so that a group of answers has something to be told apart by. Nothing is
imported from a file's words: what is not in REWARDS does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher

from det_files.evaluation.exact_match import NOT_JSON, parse_strictly, same_object, same_value
from det_files.evaluation.final_answer import same_final_answer

Reward = Callable[[str, str], float]


def json_parses(answer: str, reference: str) -> float:
    """1 where the answer is one JSON value and nothing else; see `parse_strictly`."""
    return float(parse_strictly(answer) is not NOT_JSON)


def json_fields(answer: str, reference: str) -> float:
    """The share of fields that are right, of all that either object has.

    A field counts where key, type and value are the reference's; keys that the reference lacks
    count as wrong. An answer that is no JSON object earns 0; a reference that is none is compared
    as a whole.
    """
    expected, found = parse_strictly(reference), parse_strictly(answer)
    if not isinstance(expected, dict):
        return float(same_object(answer, reference))
    if not isinstance(found, dict):
        return 0.0
    right = sum(key in found and same_value(found[key], expected[key]) for key in expected)
    return right / max(1, len(expected.keys() | found.keys()))


def exact_match(answer: str, reference: str) -> float:
    """1 where the answer states the reference's value, as JSON or else as text."""
    return float(same_object(answer, reference))


def similarity(answer: str, reference: str) -> float:
    """How much of both texts is common to them, in characters: difflib's ratio."""
    return SequenceMatcher(None, answer, reference, autojunk=False).ratio()


def final_answer(answer: str, reference: str) -> float:
    """1 where the last number of the answer is that of the reference; see `same_final_answer`."""
    return float(same_final_answer(answer, reference))


REWARDS: dict[str, Reward] = {
    "json_parses": json_parses,
    "json_fields": json_fields,
    "exact_match": exact_match,
    "similarity": similarity,
    "final_answer": final_answer,
}
