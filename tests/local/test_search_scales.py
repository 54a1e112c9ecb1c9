"""Where values lie on an axis, and what its ticks say."""

from itertools import pairwise
from typing import Any

import pytest

from det_files.local.search_scales import distinct_texts, scale_of


def texts(values: list[Any]) -> list[str]:
    return [text for _, text in scale_of(values).ticks()]


def test_two_decades_are_logarithmic() -> None:
    scale = scale_of([1e-5, 3e-4, 1e-3])
    assert scale.is_logarithmic
    assert scale.position(1e-4) == pytest.approx(0.5)
    wide = scale_of([n * 1e-5 for n in range(1, 101)])
    assert [text for _, text in wide.ticks()] == ["1e-5", "1e-4", "1e-3"]
    assert not scale_of([1e-4, 9e-3]).is_logarithmic
    assert not scale_of([0.0, 1e-4, 1.0]).is_logarithmic  # zero has no logarithm


def test_few_values_are_ticks_and_powers_of_two_are_evenly_apart() -> None:
    scale = scale_of([16, 4, 8, 32])
    assert [(pytest.approx(p), t) for p, t in scale.ticks()] == [
        (0.0, "4"),
        (1 / 3, "8"),
        (2 / 3, "16"),
        (1.0, "32"),
    ]
    assert not scale_of([10, 20, 30, 40]).is_logarithmic
    assert texts([0.11234567, 0.91234567]) == ["0.2", "0.4", "0.6", "0.8"]


def test_ticks_keep_their_distance_and_differ() -> None:
    scale = scale_of([1, 2, 1000, 2000, 5000])
    positions = [position for position, _ in scale.ticks(nearest=0.2)]
    assert all(b - a >= 0.2 for a, b in pairwise(positions))
    assert distinct_texts([1.00012, 1.00014]) == ["1.00012", "1.00014"]
    narrow = texts([2.31212345, 2.31213345])
    assert len(set(narrow)) == len(narrow) >= 2


def test_texts_and_bools_are_categories() -> None:
    scale = scale_of(["lora", "full", None, "lora", True, 8, False])
    assert scale.categories == ("8", "false", "full", "lora", "true", "null")
    assert scale.position(8) == 0.0
    assert scale.position(None) == 1.0
    assert scale.position("dora") is None
    assert scale_of([True]).ticks() == [(0.5, "true")]


def test_many_and_long_categories_are_thinned_and_cut() -> None:
    ticks = scale_of([f"{n:02}-a-long-name-of-a-category" for n in range(40)]).ticks()
    assert len(ticks) <= 12
    assert all(len(text) <= 14 for _, text in ticks)


def test_one_value_lies_in_the_middle() -> None:
    assert scale_of([3e-4, 3e-4]).ticks() == [(0.5, "3e-4")]
    assert scale_of([5]).position(5) == 0.5


def test_what_is_no_value_has_no_place() -> None:
    scale = scale_of([1.0, None, 3.0, float("nan")])
    assert [scale.position(v) for v in (1.0, None, float("nan"), 9.0)] == [0.0, None, None, 1.0]
    assert scale_of([1e-5, 1.0]).position(0.0) is None
    assert (scale_of([]).ticks(), scale_of([]).position(1.0)) == ([], None)
