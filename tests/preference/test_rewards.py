"""Rewards: what is right, partly right and wrong, worked out by hand."""

import json

import pytest

from det_files.preference.rewards import REWARDS

ORDER = '{"name": "Mei Berg", "item": "small teapots", "quantity": 29, "time": "9:40 am"}'


@pytest.mark.parametrize(
    ("name", "answer", "reference", "reward"),
    [
        ("json_parses", ORDER, "", 1.0),
        ("json_parses", f"```json\n{ORDER}\n```", "", 0.0),
        ("json_parses", '{"a": NaN}', "", 0.0),
        ("json_fields", ORDER, ORDER, 1.0),
        ("json_fields", ORDER.replace("29", "28"), ORDER, 0.75),
        ("json_fields", ORDER.replace("29", '"29"'), ORDER, 0.75),
        ("json_fields", '{"name": "Mei Berg"}', ORDER, 0.25),
        ("json_fields", ORDER.replace("}", ', "colour": "red"}'), ORDER, 0.8),
        ("json_fields", "{}", ORDER, 0.0),
        ("json_fields", "[1]", ORDER, 0.0),
        ("json_fields", "Mei Berg", ORDER, 0.0),
        ("json_fields", "[1, 2]", "[1,2]", 1.0),
        ("json_fields", "{}", "{}", 0.0),
        ("exact_match", ORDER.replace(": ", ":"), ORDER, 1.0),
        ("exact_match", ORDER.replace("29", "28"), ORDER, 0.0),
        ("exact_match", " Paris\n", "Paris", 1.0),
        ("similarity", "abcd", "abcd", 1.0),
        ("similarity", "ab", "abcd", 2 * 2 / 6),
        ("similarity", "xy", "abcd", 0.0),
        ("final_answer", "48/2 = 24, so 24 + 48 = 72.", "… #### 72", 1.0),
        ("final_answer", "#### 72 clips", "#### 72", 1.0),
        ("final_answer", "72 is what I found. #### 71", "#### 72", 0.0),
        ("final_answer", "It costs $1,234.50", "#### 1234.5", 1.0),
        ("final_answer", "She lost money: -5", "#### -5", 1.0),
        ("final_answer", "18.0", "#### 18", 1.0),
        ("final_answer", "no idea", "#### 18", 0.0),
        ("final_answer", "no idea", "none", 0.0),
        ("final_answer", "1, 2, 3", "#### 3", 1.0),
    ],
)
def test_a_reward(name: str, answer: str, reference: str, reward: float) -> None:
    assert REWARDS[name](answer, reference) == pytest.approx(reward)


def test_an_empty_object_has_no_field_to_be_right() -> None:
    assert REWARDS["json_fields"](json.dumps({}), json.dumps({"a": 1})) == 0.0
