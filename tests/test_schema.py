"""Strict reading: known keys, right types, bounds; hyperparameters at their extremes."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from det_files.faults import Faults
from det_files.schema import Field, check_mapping, check_value, fields_of, parse_flag, show


@dataclass
class Arguments:
    rate: float = field(default=1.0, metadata={"exclusive_minimum": 0, "maximum": 1})
    rank: int = field(default=8, metadata={"minimum": 1})
    method: str = field(default="full", metadata={"choices": ("full", "lora")})
    strategy: str = field(default="no", metadata={"choices": ("no", "steps")})
    on: bool = False
    path: str | None = None
    names: str | list[str] = "all"
    options: dict[str, Any] = field(default_factory=dict)
    anything: Any = None


FIELDS = fields_of(Arguments)


def read(mapping: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    faults = Faults()
    return check_mapping("s", mapping, FIELDS, faults), [str(fault) for fault in faults.found]


def test_fields_of_a_dataclass() -> None:
    kinds = {name: set(found.kinds) for name, found in FIELDS.items()}
    assert kinds == {
        "rate": {"float"},
        "rank": {"int"},
        "method": {"str"},
        "strategy": {"str"},
        "on": {"bool"},
        "path": {"str", "none"},
        "names": {"str", "list"},
        "options": {"dict"},
        "anything": {"any"},
    }
    assert (FIELDS["rate"].exclusive_minimum, FIELDS["rate"].maximum) == (0, 1)
    assert FIELDS["method"].choices == ("full", "lora")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rate", 1, 1.0),
        ("rank", 4.0, 4),
        ("path", None, None),
        ("names", ["a"], ["a"]),
        ("options", {"type": "x"}, {"type": "x"}),
        ("anything", object, object),
        ("on", True, True),
        ("strategy", False, "no"),  # what `no` became in YAML 1.1
    ],
)
def test_values_in_their_fields_type(key: str, value: Any, expected: Any) -> None:
    found, faults = read({key: value})
    assert (found[key], type(found[key]), faults) == (expected, type(expected), [])


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("rate", "1e-5", 's.rate: expected float, got "1e-5"'),
        ("rate", True, "s.rate: expected float, got true"),
        ("rate", 0, "s.rate: expected > 0, got 0.0"),
        ("rate", 1.5, "s.rate: expected <= 1, got 1.5"),
        ("rate", float("nan"), "s.rate: expected a finite number, got nan"),
        ("rank", 1.5, "s.rank: expected int, got 1.5"),
        ("rank", 0, "s.rank: expected >= 1, got 0"),
        ("rank", None, "s.rank: expected int, got null"),
        ("on", 1, "s.on: expected bool, got 1"),
        ("on", "yes", 's.on: expected bool, got "yes"'),
        ("path", ["a"], 's.path: expected null or string, got ["a"]'),
        ("options", [], "s.options: expected mapping, got []"),
        ("names", {"a": 1}, 's.names: expected list or string, got {"a": 1}'),
        ("method", "lorra", 's.method: expected one of full, lora, got "lorra"; '
         'did you mean "lora"?'),
        ("method", False, "s.method: expected one of full, lora, got false"),
        ("rnk", 8, 's.rnk: unknown key; did you mean "rank"?'),
        (3, 8, "s.3: unknown key"),
    ],
)  # fmt: skip
def test_faults_of_values(key: str, value: Any, fault: str) -> None:
    assert read({key: value})[1] == [fault]


def test_a_hyperparameter_is_checked_at_its_extremes_and_left_as_it_is() -> None:
    given = {
        "rate": {"type": "log", "base": 10, "minval": -3, "maxval": 1},
        "rank": {"type": "int", "minval": 0, "maxval": 4},
        "method": {"type": "categorical", "vals": ["full", "zero"]},
        "on": {"type": "const", "val": 1},
    }
    found, faults = read(given)
    assert found == given
    assert faults == [
        "s.rate.maxval: expected <= 1, got 10.0",
        "s.rank.minval: expected >= 1, got 0",
        's.method.vals[1]: expected one of full, lora, got "zero"',
        "s.on.val: expected bool, got 1",
    ]


@pytest.mark.parametrize("kind", ["double", "log"])
def test_a_whole_number_takes_no_fractions(kind: str) -> None:
    """Both ends may be whole; what is drawn between them is not."""
    given = {"type": kind, "minval": 1, "maxval": 2} | ({"base": 2} if kind == "log" else {})
    fault = f"s.rank: expected int, and {kind} draws fractions; write type: int"
    assert read({"rank": given})[1] == [fault]


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("1e-5", {"float"}, 1e-5),
        ("10", {"int"}, 10),
        ("1.5", {"int"}, "1.5"),
        ("-1", {"int"}, -1),
        ("True", {"bool"}, True),
        ("false", {"bool"}, False),
        ("yes", {"bool"}, "yes"),
        ("none", {"str", "none"}, None),
        ("none", {"str"}, "none"),
        ('{"a": 1}', {"dict", "str"}, {"a": 1}),
        ('["q"]', {"list", "str"}, ["q"]),
        ("{a", {"dict"}, "{a"),
        ("12", {"str"}, "12"),
    ],
)
def test_flags_are_text(text: str, kinds: set[str], value: Any) -> None:
    assert parse_flag(text, Field("x", frozenset(kinds))) == value


def test_text_of_a_flag_that_does_not_fit_is_refused() -> None:
    faults = Faults()
    whole = Field("x", frozenset({"int"}))
    check_value("x", parse_flag("1.5", whole), whole, faults)
    assert [str(fault) for fault in faults.found] == ['x: expected int, got "1.5"']


def test_values_are_shown_short() -> None:
    assert show("é") == '"é"'
    assert len(show(list(range(100)))) == 60
