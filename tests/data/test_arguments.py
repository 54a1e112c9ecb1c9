"""The strict reading of data_arguments."""

from __future__ import annotations

from typing import Any

import pytest

from det_files.data.arguments import DataArguments, SourceArguments, read_data_arguments
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
        ({"sources": [{"path": "a", "weight": 0}]}, "sources[0].weight: expected > 0, got 0"),
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
        ({"sources": [{"path": "a"}] * 2}, "sources: one source is supported, got 2"),
        (GOOD | {"block_sise": 8}, 'block_sise: unknown key; did you mean "block_size"?'),
        (GOOD | {"block_size": 1}, "block_size: expected >= 2, got 1"),
        (GOOD | {"max_input_tokens": 0}, "max_input_tokens: expected >= 1, got 0"),
        (GOOD | {"validation_split_percentage": 0}, "validation_split_percentage: expected > 0"),
        (GOOD | {"chat_template": "chatml"}, "chat_template: expected one of auto, none"),
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
