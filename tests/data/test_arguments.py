"""The strict reading of data_arguments."""

from __future__ import annotations

from typing import Any

import pytest

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.reading import read_data_arguments
from det_files.faults import Faults

PATH = "hyperparameters.data_arguments"
GOOD = {"sources": [{"path": "data/quickstart"}]}


def faults_of(mapping: dict[str, Any]) -> list[str]:
    faults = Faults()
    read_data_arguments(PATH, mapping, faults)
    return [str(fault).removeprefix(f"{PATH}.") for fault in faults.found]


def test_values_are_read_and_the_rest_is_default() -> None:
    faults = Faults()
    source = {"dataset_name": "camel-ai/math", "columns": {"input": "message_1"}, "weight": 2}
    read = read_data_arguments(PATH, {"sources": [source], "block_size": 64}, faults)
    assert not faults.found
    assert read == DataArguments(
        sources=[
            SourceArguments(
                dataset_name="camel-ai/math", columns={"input": "message_1"}, weight=2.0
            )
        ],
        block_size=64,
    )


@pytest.mark.parametrize(
    ("mapping", "fault"),
    [
        ({}, "sources: missing: name a source"),
        ({"sources": []}, "sources: missing: name a source"),
        ({"sources": {"path": "x"}}, "sources: expected list"),
        ({"sources": ["data/x"]}, "sources[0]: expected a mapping"),
        ({"sources": [{}]}, "sources[0]: expected either path or dataset_name"),
        (
            {"sources": [{"path": "a", "dataset_name": "b"}]},
            "sources[0]: expected either path or dataset_name",
        ),
        ({"sources": [{"pth": "a", "path": "a"}]}, 'sources[0].pth: unknown key; did you mean "pa'),
        (
            {"sources": [{"path": "a"}, {"path": "b", "weight": -0.5}]},
            "sources[1].weight: expected >= 0, got -0.5",
        ),
        ({"sources": [{"path": "a", "weight": 0}]}, "sources: every weight is 0"),
        (
            {"sources": [{"path": "a", "dataset_config": "main"}]},
            "sources[0].dataset_config: belongs to dataset_name",
        ),
        (
            {"sources": [{"path": "a", "columns": {"inputs": "q"}}]},
            'sources[0].columns.inputs: unknown key; did you mean "input"?',
        ),
        (
            {"sources": [{"path": "a", "columns": {"text": "t", "input": "q"}}]},
            "sources[0].columns: expected text alone",
        ),
        (
            {"sources": [{"path": "a", "columns": {"messages": "m", "input": "q"}}]},
            "sources[0].columns: expected text alone (plain text), messages alone",
        ),
        (
            {"sources": [{"path": "a", "input_format": "Q"}]},
            "sources[0].input_format: the template lacks its placeholder __input__",
        ),
        (
            {"sources": [{"path": "a", "max_train_samples": 0}]},
            "sources[0].max_train_samples: expected >= 1, got 0",
        ),
        (GOOD | {"block_sise": 8}, 'block_sise: unknown key; did you mean "block_size"?'),
        (GOOD | {"block_size": 1}, "block_size: expected >= 2, got 1"),
        (GOOD | {"max_input_tokens": 0}, "max_input_tokens: expected >= 1, got 0"),
        (GOOD | {"validation_split_percentage": 0}, "validation_split_percentage: expected > 0"),
        (
            GOOD | {"chat_template": "chatml"},
            'chat_template: expected auto, none, or the path of a .jinja file, got "chatml"',
        ),
        (GOOD | {"packing": "block"}, 'packing: expected one of false, true, blocks, got "block"'),
        (GOOD | {"packing": 1}, "packing: expected bool or string, got 1"),
        (GOOD | {"too_long": "trim"}, "too_long: expected one of cut, drop, error"),
        (
            GOOD | {"mixture_stopping": "first_exausted"},
            "mixture_stopping: expected one of first_exhausted, all_exhausted, got ",
        ),
        (
            GOOD | {"packing": {"type": "categorical", "vals": [True, "block"]}},
            'packing.vals[1]: expected one of false, true, blocks, got "block"',
        ),
        (
            {"sources": {"type": "categorical", "vals": ["data/a", [{"pth": "b", "path": "b"}]]}},
            'sources.vals[1][0].pth: unknown key; did you mean "path"?',
        ),
        (GOOD | {"input_format": "Q: "}, "input_format: the template lacks its placeholder __in"),
        (GOOD | {"output_format": ""}, "output_format: the template lacks its placeholder __out"),
    ],
)
def test_a_fault_is_located(mapping: dict[str, Any], fault: str) -> None:
    (found,) = faults_of(mapping)
    assert found.startswith(fault)


def test_all_faults_come_at_once() -> None:
    mapping = {"sources": [{"weight": -1}], "block_size": "x", "output_format": "A"}
    assert len(faults_of(mapping)) == 4


def read(mapping: dict[str, Any]) -> DataArguments:
    faults = Faults()
    found = read_data_arguments(PATH, mapping, faults)
    assert not faults.found
    return found


def test_a_source_has_the_sections_values_where_it_says_nothing() -> None:
    sources = [{"path": "a", "max_input_tokens": 5, "input_format": "Q: __input__"}, {"path": "b"}]
    args = read({"sources": sources, "max_input_tokens": 7, "max_eval_samples": 3})
    first, second = args.settled_sources()
    assert (first.max_input_tokens, second.max_input_tokens) == (5, 7)
    assert (first.input_format, second.input_format) == ("Q: __input__", "__input__")
    assert (first.max_eval_samples, second.max_train_samples) == (3, None)


@pytest.mark.parametrize("packing", [False, True, "blocks"])
def test_packing_is_kept_as_it_is(packing: bool | str) -> None:
    assert read(GOOD | {"packing": packing}).packing is packing
