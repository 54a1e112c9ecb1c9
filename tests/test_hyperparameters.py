"""Determined's hyperparameter mappings: checked, represented by their ends, drawn in range."""

import random
from typing import Any

import pytest

from det_files.faults import Faults
from det_files.hyperparameters import (
    as_constants,
    check_grid,
    check_hyperparameters,
    is_hyperparameter,
    representatives,
    sample,
)

INT = {"type": "int", "minval": 2, "maxval": 5}
DOUBLE = {"type": "double", "minval": -0.5, "maxval": 0.25}
LOG = {"type": "log", "base": 2, "minval": -4, "maxval": 3}
PAIRS = {"type": "categorical", "vals": [{"stage": 2}, {"stage": 3, "device": "cpu"}, None]}
CONST = {"type": "const", "val": {"type": "AdamW"}}


def faults_of(tree: Any) -> list[str]:
    faults = Faults()
    check_hyperparameters("h", tree, faults)
    return [str(fault) for fault in faults.found]


@pytest.mark.parametrize("value", [INT, DOUBLE, LOG, PAIRS, CONST])
def test_every_type_is_known(value: dict[str, Any]) -> None:
    assert is_hyperparameter(value) and faults_of({"x": {"y": value}}) == []


@pytest.mark.parametrize("value", [1, None, [INT], {"a": INT}, {"type": "AdamW"}, {"type": [1]}])
def test_what_is_none(value: Any) -> None:
    assert not is_hyperparameter(value)
    assert list(representatives(value)) == [("", value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (INT, [(".minval", 2), (".maxval", 5)]),
        (DOUBLE, [(".minval", -0.5), (".maxval", 0.25)]),
        (LOG, [(".minval", 2**-4), (".maxval", 8.0)]),
        (LOG | {"base": 10}, [(".minval", 1e-4), (".maxval", 1000.0)]),
        (PAIRS, [(f".vals[{i}]", choice) for i, choice in enumerate(PAIRS["vals"])]),
        (CONST, [(".val", {"type": "AdamW"})]),
    ],
)
def test_representatives(value: Any, expected: list[tuple[str, Any]]) -> None:
    assert list(representatives(value)) == expected


MALFORMED = [
    ({"type": "int", "minval": 1}, ".maxval: missing; type int needs it"),
    (INT | {"minval": 5}, ".minval: expected < maxval (5), got 5"),
    (INT | {"minval": 1.5}, ".minval: expected a whole number, got 1.5"),
    (INT | {"maxval": "9"}, ".maxval: expected a whole number, got '9'"),
    (INT | {"count": 0}, ".count: expected > 0, got 0"),
    (INT | {"maxvall": 9}, '.maxvall: unknown key; did you mean "maxval"?'),
    (DOUBLE | {"minval": True}, ".minval: expected a finite number, got True"),
    (DOUBLE | {"maxval": float("inf")}, ".maxval: expected a finite number, got inf"),
    (LOG | {"base": 0}, ".base: expected > 0, got 0"),
    ({"type": "log", "minval": 0, "maxval": 1}, ".base: missing; type log needs it"),
    (
        LOG | {"base": 10, "maxval": 1000},
        ".maxval: 10 to the power of 1000 is too large; minval and maxval are exponents",
    ),
    ({"type": "categorical", "vals": []}, ".vals: expected a list with at least one value"),
    ({"type": "categorical", "vals": 7}, ".vals: expected a list with at least one value"),
    ({"type": "categorical"}, ".vals: missing; type categorical needs it"),
    ({"type": "const"}, ".val: missing; type const needs it"),
    (
        {"type": "categorical", "vals": [INT]},
        ".vals[0]: a hyperparameter inside a list is not searched: Determined hands lists on "
        "literally",
    ),
]


@pytest.mark.parametrize(("value", "fault"), MALFORMED)
def test_malformed_ones_are_named_and_neither_represented_nor_drawn(
    value: dict[str, Any], fault: str
) -> None:
    assert faults_of({"x": value}) == [f"h.x{fault}"]
    assert list(representatives(value)) == []
    assert sample(value, random.Random(0)) == value


@pytest.mark.parametrize(("name", "hint"), [("doubl", "double"), ("AdamW", None), ([1], None)])
def test_a_stray_type_is_refused_with_the_way_out(name: Any, hint: str | None) -> None:
    (fault,) = faults_of({"optimizer": {"type": name, "lr": 1}})
    assert fault.startswith("h.optimizer.type: Determined reads every mapping with a `type` key")
    assert "{type: const, val: {…}}" in fault
    assert ("did you mean" in fault) == (hint is not None) and (hint or "") in fault


def test_a_hyperparameter_inside_a_list_is_refused_however_deep() -> None:
    tree = {"sources": [{"weight": 1}, {"weight": INT, "columns": [{"a": LOG}]}, {"type": "x"}]}
    assert [fault.split(": a hyperparameter inside a list")[0] for fault in faults_of(tree)] == [
        "h.sources[1].weight",
        "h.sources[1].columns[0].a",
    ]


def test_a_grid_needs_counts() -> None:
    faults = Faults()
    tree = {"a": INT, "b": {"c": LOG | {"count": 3}, "d": DOUBLE | {"count": None}}, "e": PAIRS}
    check_grid("h", tree, faults)
    assert [fault.path for fault in faults.found] == ["h.a.count", "h.b.d.count"]


@pytest.mark.parametrize("seed", range(50))
def test_draws_stay_in_range(seed: int) -> None:
    rng = random.Random(seed)
    low = rng.randint(-5, 5)
    high = low + rng.randint(1, 9)
    base = rng.choice([2, 10, 1.5])
    ends = {"minval": low, "maxval": high}
    tree = {
        "int": {"type": "int"} | ends,
        "double": {"type": "double"} | ends,
        "deep": {"log": {"type": "log", "base": base} | ends},
        "choice": PAIRS,
    }
    drawn = sample(tree, rng)
    assert low <= drawn["int"] <= high and isinstance(drawn["int"], int)
    assert low <= drawn["double"] <= high
    assert base**low * (1 - 1e-9) <= drawn["deep"]["log"] <= base**high * (1 + 1e-9)
    assert drawn["choice"] in PAIRS["vals"]


def test_both_ends_of_an_int_and_every_choice_are_drawn() -> None:
    rng = random.Random(1)
    assert {sample(INT, rng) for _ in range(200)} == {2, 3, 4, 5}
    drawn = [sample(PAIRS, rng) for _ in range(100)]
    assert all(choice in drawn for choice in PAIRS["vals"])


def test_a_draw_is_reproducible_and_hands_on_all_else() -> None:
    tree = {"a": LOG, "b": [INT, 3], "c": {"d": None}, "e": CONST}
    drawn = sample(tree, random.Random(7))
    assert drawn == sample(tree, random.Random(7))
    assert (drawn["b"], drawn["c"], drawn["e"]) == ([INT, 3], {"d": None}, {"type": "AdamW"})


def test_a_drawn_tree_is_its_own_only_draw() -> None:
    """A trial is given literals: `{type: AdamW}` in them is no hyperparameter."""
    drawn = sample({"a": LOG, "deep": {"optimizer": CONST}, "list": [INT]}, random.Random(7))
    again = as_constants(drawn)
    assert sample(again, random.Random(0)) == drawn
    assert faults_of({"deep": again["deep"]}) == []
    assert faults_of({"deep": drawn["deep"]}) != []
