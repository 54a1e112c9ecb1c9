"""Faults of how tokens are chosen, all at once; and the flags of a command line."""

import argparse
import math
from dataclasses import fields
from typing import Any

import pytest

from det_files.faults import Faults
from det_files.generation.sampling import Sampling, add_sampling_flags, sampling_of


def faults_of(**options: Any) -> dict[str, str]:
    faults = Faults()
    Sampling(**options).find_faults(faults)
    return {fault.path: fault.message for fault in faults.found}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.2},
        {"temperature": 0.7, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "num_return_sequences": 4},
        {"num_beams": 4, "num_return_sequences": 4, "repetition_penalty": 1.2},
    ],
)
def test_what_can_be_has_no_fault(options: dict[str, Any]) -> None:
    assert faults_of(**options) == {}


def test_all_values_out_of_range_are_named_at_once_by_their_flags() -> None:
    found = faults_of(
        max_new_tokens=0,
        temperature=-1.0,
        top_k=-1,
        top_p=0.0,
        min_p=1.0,
        repetition_penalty=0.0,
        num_beams=0,
        num_return_sequences=0,
    )
    assert set(found) == {f"--{f.name.replace('_', '-')}" for f in fields(Sampling)} - {"--seed"}
    assert found["--temperature"] == "expected 0, or at least 0.001, got -1.0"


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty"])
def test_no_number_is_no_value(name: str) -> None:
    assert f"--{name.replace('_', '-')}" in faults_of(**{name: math.nan})


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"temperature": 1e-38}, "--temperature"),
        ({"top_k": 5}, "--top-k"),
        ({"top_p": 0.5}, "--top-p"),
        ({"min_p": 0.5}, "--min-p"),
        ({"num_beams": 2, "temperature": 1.0}, "--num-beams"),
        ({"num_beams": 2, "num_return_sequences": 3}, "--num-return-sequences"),
        ({"num_return_sequences": 2}, "--num-return-sequences"),
    ],
)
def test_what_overflows_or_has_no_effect_is_a_fault(options: dict[str, Any], flag: str) -> None:
    assert list(faults_of(**options)) == [flag]


def test_flags_say_every_field_and_have_its_default() -> None:
    parser = argparse.ArgumentParser()
    add_sampling_flags(parser, temperature=0.7)
    assert sampling_of(parser.parse_args([])) == Sampling(temperature=0.7)
    words = "--max-new-tokens 5 --temperature 0.5 --top-k 4 --top-p 0.9 --min-p 0.1"
    words += " --repetition-penalty 1.1 --num-beams 1 --num-return-sequences 2 --seed 8"
    wanted = Sampling(5, 0.5, 4, 0.9, 0.1, 1.1, 1, 2, 8)
    assert sampling_of(parser.parse_args(words.split())) == wanted
