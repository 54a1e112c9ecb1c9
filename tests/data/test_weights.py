"""Weights of a mixture: the list, the string and mixture_weights, and what is said of mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from det_files.data.arguments import DataArguments
from det_files.data.reading import read_data_arguments
from det_files.entrypoint import flags_to_hyperparameters
from det_files.faults import Faults

PATH = "hyperparameters.data_arguments"
RANGE = {"type": "double", "minval": 0.1, "maxval": 0.9}


def read(**mapping: Any) -> tuple[DataArguments, list[str]]:
    faults = Faults()
    args = read_data_arguments(PATH, mapping, faults)
    return args, [str(fault).removeprefix(f"{PATH}.") for fault in faults.found]


def faults_of(**mapping: Any) -> list[str]:
    return read(**mapping)[1]


def sources(*weights: float | None) -> list[dict[str, Any]]:
    return [
        {"path": f"data/{name}"} | ({} if weight is None else {"weight": weight})
        for name, weight in zip("abcdef", weights, strict=False)
    ]


def test_weights_are_normalised() -> None:
    args, faults = read(sources=sources(2, 6, 0))
    assert not faults
    assert args.weights() == [0.25, 0.75, 0]


def test_no_weights_are_none_at_all() -> None:
    assert read(sources=sources(None, None))[0].weights() is None


def test_the_string_form_is_the_list() -> None:
    text, faults = read(sources="data/a:0.2, s3/x:0.8,data/c:1e0")
    assert not faults
    assert [source.path for source in text.sources] == ["data/a", "s3/x", "data/c"]
    assert text.weights() == pytest.approx([0.1, 0.4, 0.5])
    alone, faults = read(sources="data/a")
    assert not faults
    assert alone == read(sources=[{"path": "data/a"}])[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a:1,,b:1", 'sources[1]: expected "path" or "path:weight", got ""'),
        ("a:1,:2", 'sources[1]: expected "path" or "path:weight", got ":2"'),
        ("a:0.x", 'sources[0]: expected a weight behind the colon, got "0.x"'),
        ("a:1,b:-0.5", "sources[1].weight: expected >= 0, got -0.5"),
        ("a:1,b", 'sources[1].weight: missing: "b" has no weight and others have one'),
        ("a:0,b:0", "sources: every weight is 0"),
        ("a:nan", "sources[0].weight: expected a finite number"),
    ],
)
def test_faults_of_the_string_form(text: str, fault: str) -> None:
    (found,) = faults_of(sources=text)
    assert found.startswith(fault)


def test_mixture_weights_go_by_name() -> None:
    named = [{"path": "data/math"}, {"dataset_name": "org/code"}, {"path": "x", "name": "chat"}]
    args, faults = read(sources=named, mixture_weights={"math": 1, "code": 1, "chat": 2})
    assert not faults
    assert args.weights() == [0.25, 0.25, 0.5]


def test_mixture_weights_and_a_sources_own_may_stand_for_different_sources() -> None:
    args, faults = read(sources=sources(None, 3), mixture_weights={"a": 1})
    assert not faults
    assert args.weights() == [0.25, 0.75]


def test_a_leaf_may_be_searched_over() -> None:
    assert faults_of(sources=sources(None, None), mixture_weights={"a": RANGE, "b": 1}) == []
    zero = {"type": "categorical", "vals": [0, 1]}
    assert faults_of(sources=sources(None, None), mixture_weights={"a": zero, "b": 0}) == []


@pytest.mark.parametrize(
    ("mapping", "faults"),
    [
        (
            {"sources": sources(1, None), "mixture_weights": {"a": 1, "b": 1}},
            ['sources[0].weight: "a" has a weight in mixture_weights, too; give one of them'],
        ),
        (
            {"sources": [{"path": "math"}], "mixture_weights": {"mat": 1}},
            ['mixture_weights.mat: unknown key; did you mean "math"?'],
        ),
        (
            {"sources": sources(None, None, None), "mixture_weights": {"b": 1}},
            [f"sources[{i}].weight: missing: {name}" for i, name in ((0, '"a"'), (2, '"c"'))],
        ),
        (
            {"sources": sources(None), "mixture_weights": {"a": RANGE | {"minval": -1}}},
            ["mixture_weights.a.minval: expected >= 0, got -1"],
        ),
        (
            {"sources": sources(None, None), "mixture_weights": {"a": 0, "b": 0}},
            ["mixture_weights: every weight is 0"],
        ),
        (
            {"sources": sources(None), "mixture_weights": {"a": "much"}},
            ['mixture_weights.a: expected float, got "much"'],
        ),
        (
            {"sources": [{"path": "x/a"}, {"path": "y/a"}], "mixture_weights": {"a": 1}},
            ['sources[1].name: "a" is the name of sources[0], too'],
        ),
        (
            {"sources": [{"path": "x", "name": "n"}, {"path": "y", "name": "n"}]},
            ['sources[1].name: "n" is the name of sources[0], too'],
        ),
    ],
)
def test_mistakes_are_named(mapping: dict[str, Any], faults: list[str]) -> None:
    found = faults_of(**mapping)
    assert len(found) == len(faults)
    for text, start in zip(found, faults, strict=True):
        assert text.startswith(start)


def test_paths_that_end_alike_are_fine_while_nothing_goes_by_name() -> None:
    assert faults_of(sources=[{"path": "x/a"}, {"path": "y/a"}]) == []


def test_sources_and_weights_may_be_flags() -> None:
    faults, warnings = Faults(), list[str]()
    words = ["--sources", "data/a:0.2,data/b:0.6", "--mixture_stopping=all_exhausted"]
    given = flags_to_hyperparameters(words, faults, warnings)["data_arguments"]
    args, found = read(**given)
    assert not faults.found
    assert (found, warnings) == ([], [])
    assert args.weights() == pytest.approx([0.25, 0.75])
    by_name = flags_to_hyperparameters(["--mixture_weights", '{"a": 1}'], faults, warnings)
    args, found = read(sources="data/a", **by_name["data_arguments"])
    assert (args.weights(), found) == ([1.0], [])
