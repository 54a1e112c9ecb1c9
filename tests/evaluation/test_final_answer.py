"""Final numbers of answers, as people and models write them."""

from fractions import Fraction

import pytest

from det_files.evaluation.final_answer import (
    final_number,
    same_final_answer,
    score_final_answers,
    strict_number,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 72", "72"),
        ("48/2 = 24, so 24 + 48 = 72.", "72"),
        ("The answer is 18.", "18"),
        ("It costs $1,234.50", "1234.5"),
        (r"\$18.00", "18"),
        ("a loss of -$5", "-5"),
        ("a loss of $-5", "-5"),
        ("−5 degrees", "-5"),
        ("x=-5", "-5"),
        ("12,345,678 people", "12345678"),
        ("1, 2, 3", "3"),
        ("50% of them", "50"),
        (".5", "1/2"),
        ("1/2", "1/2"),
        ("1 1/2 cups", "3/2"),
        ("3 / 4", "3/4"),
        ("1/0", "0"),
        ("on 1/2/2020", "2020"),
        ("5-3", "3"),
        ("10-12", "12"),
        ("(5)-3", "3"),
        ("5 - 3 = 2", "2"),
        ("- 5 apples", "5"),
        ("GPT-4", "4"),
        ("**18**", "18"),
        (r"\boxed{42}, checked with 7", "42"),
        (r"\boxed{\frac{1}{2}}", "1/2"),
        (r"\boxed{-\frac12}", "-1/2"),
        (r"\boxed{1\frac{1}{2}}", "3/2"),
        (r"\boxed{1{,}234}", "1234"),
        (r"\boxed{3} or rather \boxed{4}", "4"),
        (r"\boxed{3} #### 5", "5"),
        ("#### 3 no, #### 4", "4"),
        ("#### 5 + 3 = 8", "8"),
        ("no idea", None),
        ("", None),
        ("72 #### nothing", None),
    ],
)
def test_the_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == (None if number is None else Fraction(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("24 + 48 = 72\n#### 72", "72"),
        ("#### $1,234.50.", "1234.5"),
        ("#### -3 degrees", "-3"),
        ("#### 5 + 3 = 8", "5"),
        (r"so \boxed{42}", "42"),
        ("The answer is 18.", None),
        ("#### The answer is 18.", None),
        ("#### ", None),
    ],
)
def test_the_number_that_an_answer_declares(text: str, number: str | None) -> None:
    assert strict_number(text) == (None if number is None else Fraction(number))


def test_numbers_are_the_same_by_value() -> None:
    assert same_final_answer("18", "#### 18.00")
    assert same_final_answer("0.1", "1/10")
    assert not same_final_answer("0.33", "1/3")
    assert not same_final_answer("none", "none")


def test_more_digits_than_a_number_has() -> None:
    """A model that repeats itself until it is cut off."""
    assert final_number("1" * 5000) is None
    assert final_number("1/" + "3" * 5000) is None


def test_rows_are_scored_strictly_and_flexibly() -> None:
    answers = ["#### 72", "So it is 72.", "71", "no idea"]
    found = score_final_answers(answers, ["#### 72"] * 4)
    assert found.strict == (True, False, False, False)
    assert found.flexible == (True, True, False, False)
    assert (found.rows, found.stated) == (4, 3)


def test_what_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="0 answers for 0 references"):
        score_final_answers([], [])
    with pytest.raises(ValueError, match="1 answers for 2 references"):
        score_final_answers(["1"], ["1", "2"])
    with pytest.raises(ValueError, match="reference of row 1 has no number: 'two'"):
        score_final_answers(["1", "2"], ["1", "two"])
