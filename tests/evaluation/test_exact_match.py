"""Exact match counts what it says: values with their types, strictly parsed, and plain text."""

import pytest

from det_files.evaluation.exact_match import (
    NOT_JSON,
    ExactMatch,
    parse_strictly,
    same_object,
    same_text,
    score,
)

REFERENCE = '{"name": "Ann Lee", "quantity": 12, "tags": ["a", {"b": null}]}'


@pytest.mark.parametrize(
    "answer",
    [
        REFERENCE,
        f"\n {REFERENCE} \n",
        '{"quantity":12,"tags":["a",{"b":null}],"name":"Ann Lee"}',
        '{"name": "\\u0041nn Lee", "quantity": 12, "tags": ["a", {"b": null}]}',
    ],
)
def test_the_same_value_in_another_writing_matches(answer: str) -> None:
    assert same_object(answer, REFERENCE)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Ann Lee",
        REFERENCE[:-1],
        f"Here you are: {REFERENCE}",
        f"```json\n{REFERENCE}\n```",
        f"{REFERENCE} {REFERENCE}",
        REFERENCE.replace("12", '"12"'),
        REFERENCE.replace("12", "12.0"),
        REFERENCE.replace("12", "13"),
        REFERENCE.replace("null", "false"),
        REFERENCE.replace('"a", {"b": null}', '{"b": null}, "a"'),
        REFERENCE.replace("Ann", "ann"),
        REFERENCE.replace('"quantity"', '"Quantity"'),
        REFERENCE.replace("{", '{"more": 1, ', 1),
        REFERENCE.replace('"quantity": 12, ', ""),
        REFERENCE.replace('"quantity": 12', '"quantity": 11, "quantity": 12'),
        REFERENCE.replace('"', "'"),
    ],
)
def test_anything_else_does_not(answer: str) -> None:
    assert not same_object(answer, REFERENCE)


@pytest.mark.parametrize(("left", "right"), [("1", "true"), ("0", "false"), ("[1]", "[1.0]")])
def test_types_count_where_python_would_call_values_equal(left: str, right: str) -> None:
    assert not same_object(left, right)
    assert not same_object(right, left)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"a": NaN}', "{,}", "[" * 100_000, "01"])
def test_what_is_not_json_parses_to_nothing(text: str) -> None:
    assert parse_strictly(text) is NOT_JSON


def test_null_is_a_value() -> None:
    assert parse_strictly("null") is None
    assert not same_object("no JSON", "null")


def test_a_reference_that_is_not_json_is_compared_as_text() -> None:
    assert same_object(" blue sky\n", "blue sky")
    assert not same_object("blue", "blue sky")
    assert not same_object("not json either", "blue sky")


def test_text_ignores_blanks_around_and_nothing_else() -> None:
    assert same_text(f" {REFERENCE}\n", REFERENCE)
    assert not same_text(REFERENCE.replace(": ", ":"), REFERENCE)


def test_score_counts_each_kind_of_match_apart() -> None:
    references = [REFERENCE] * 5
    answers = [REFERENCE, REFERENCE.replace(": ", ":"), "{}", "[", ""]
    found = score(answers, references)
    assert found == ExactMatch(rows=5, objects_matched=2, strings_matched=1, json_answers=3)
    assert found.to_dict() == {
        "rows": 5,
        "exact_match": 0.4,
        "exact_match_count": 2,
        "exact_string_match": 0.2,
        "exact_string_match_count": 1,
        "valid_json": 0.6,
        "valid_json_count": 3,
    }


def test_answers_are_compared_with_their_own_reference() -> None:
    assert score(["1", "2"], ["2", "1"]).objects_matched == 0


@pytest.mark.parametrize(("answers", "references"), [([], []), (["1"], ["1", "2"])])
def test_score_refuses_rows_that_do_not_pair(answers: list[str], references: list[str]) -> None:
    with pytest.raises(ValueError, match=f"{len(answers)} answers for {len(references)}"):
        score(answers, references)
