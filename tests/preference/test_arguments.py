"""PreferenceArguments: a method's own arguments are TRL's, read strictly from its source."""

import dataclasses
import importlib
import inspect
import re
from typing import Any

import pytest

from det_files.faults import Faults
from det_files.preference.arguments import (
    ELSEWHERE,
    METHODS,
    PreferenceArguments,
    method_fields,
    read_preference_arguments,
)


def read(mapping: dict[str, Any]) -> tuple[PreferenceArguments, list[str]]:
    faults = Faults()
    return read_preference_arguments("p", mapping, faults), [str(fault) for fault in faults.found]


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, PreferenceArguments("dpo")),
        ({"beta": 1}, PreferenceArguments("dpo", options={"beta": 1.0})),
        (
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]},
            PreferenceArguments(
                "dpo", options={"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]}
            ),
        ),
        (
            {"method": "kto", "loss_type": "apo_zero_unpaired"},
            PreferenceArguments("kto", options={"loss_type": "apo_zero_unpaired"}),
        ),
        (
            {"method": "grpo", "rewards": ["json_fields"], "num_generations": 4},
            PreferenceArguments("grpo", ["json_fields"], {"num_generations": 4}),
        ),
    ],
)
def test_arguments(mapping: dict[str, Any], expected: PreferenceArguments) -> None:
    assert read(mapping) == (expected, [])


EITHER = {"type": "categorical", "vals": ["dpo", "kto"]}


@pytest.mark.parametrize(
    ("mapping", "faults"),
    [
        ({"methd": "dpo"}, ['p.methd: unknown key; did you mean "method"?']),
        (
            {"method": "ppo"},
            ['p.method: expected one of dpo, kto, orpo, reward, grpo, got "ppo"; did you mean '],
        ),
        ({"betta": 0.1}, ['p.betta: unknown key; did you mean "beta"?']),
        ({"num_generations": 8}, ["p.num_generations: belongs to method grpo, not to dpo"]),
        (
            {"method": "reward", "beta": 0.1},
            ["p.beta: belongs to method dpo or kto or orpo or grpo, not to reward"],
        ),
        ({"method": EITHER, "ld_alpha": 0.5}, ["p.ld_alpha: belongs to method dpo, not to kto"]),
        ({"max_length": 9}, ["p.max_length: rows are cut by data_arguments.max_input_tokens"]),
        ({"sync_ref_model": True}, ["p.sync_ref_model: the reference would move"]),
        ({"loss_type": "sigmoyd"}, ["p.loss_type: expected one of sigmoid, hinge"]),
        ({"loss_type": ["sigmoid", "sfft"]}, ["p.loss_type[1]: expected one of sigmoid, hinge"]),
        (
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]},
            ["p.loss_weights: expected a number for each of 2 loss types, got 1"],
        ),
        ({"method": "dop"}, ['p.method: expected one of dpo, kto, orpo, reward, grpo, got "dop"']),
        (
            {"beta": -0.1, "label_smoothing": 2, "f_divergence_type": "kl"},
            [
                "p.beta: expected >= 0, got -0.1",
                "p.label_smoothing: expected <= 1, got 2.0",
                "p.f_divergence_type: expected one of reverse_kl",
            ],
        ),
        (
            {"method": "grpo", "rewards": ["similarity", "similarity"], "temperature": 0},
            ["p.temperature: expected > 0, got 0", "p.rewards[1]: similarity stands there twice"],
        ),
        (
            {"method": "grpo"},
            ["p.rewards: missing: name one or more of json_parses, json_fields, exact_match"],
        ),
        (
            {"method": "grpo", "rewards": ["json_field"]},
            ["p.rewards[0]: expected one of json_parses, json_fields, exact_match"],
        ),
        (
            {"method": "grpo", "rewards": ["json_fields"], "reward_weights": [1.0, 2.0]},
            ["p.reward_weights: expected a number for each of 1 rewards, got 2"],
        ),
        ({"rewards": ["json_fields"]}, ["p.rewards: belongs to method grpo, not to dpo"]),
        (
            {"beta": "much", "learning_rate": 1e-6, "frobnicate": 1},
            [
                "p.learning_rate: belongs to training_arguments",
                'p.beta: expected float, got "much"',
                "p.frobnicate: unknown key",
            ],
        ),
    ],
)
def test_faults_all_at_once(mapping: dict[str, Any], faults: list[str]) -> None:
    _, found = read(mapping)
    assert len(found) == len(faults), found
    for text, expected in zip(found, faults, strict=True):
        assert text.startswith(expected), text


@pytest.mark.parametrize("method", METHODS)
def test_fields_are_those_of_the_imported_class(method: str) -> None:
    source = METHODS[method]
    config = getattr(importlib.import_module(f"trl.{source.module.replace('/', '.')}"), source.name)
    own = set(config.__annotations__) - set(source.unused)
    default = next(f.default for f in dataclasses.fields(config) if f.name == "learning_rate")
    assert source.learning_rate == default
    assert set(method_fields(method)) == own
    assert {field.name for field in dataclasses.fields(config)} >= own


@pytest.mark.parametrize("method", ["dpo", "kto", "grpo"])
def test_loss_types_are_those_of_the_trainer(method: str) -> None:
    trainer = importlib.import_module(f"trl.trainer.{method}_trainer")
    compared = re.findall(r'loss_type (?:==|in) (\[[^\]]*\]|"\w+")', inspect.getsource(trainer))
    named = {name for text in compared for name in re.findall(r'"(\w+)"', text)}
    assert named == set(METHODS[method].loss_types)


def test_what_is_elsewhere_is_of_some_method() -> None:
    known = {name for method in METHODS for name in method_fields(method)}
    assert set(ELSEWHERE) <= known
