"""The flags of an evaluation: what they ask for, and what they cannot say together."""

from __future__ import annotations

import pytest

from det_files.evaluation.arguments import find_flag_faults, model_names, parse
from det_files.faults import Faults


def faults_of(*argv: str) -> list[str]:
    faults = Faults()
    find_flag_faults(parse(argv, ""), faults)
    return [str(fault) for fault in faults.found]


@pytest.mark.parametrize(
    "argv",
    [
        ("run",),
        ("run", "--metrics", "bleu,chrf", "--split", "val", "--model", "base"),
        ("run", "--compare", "other", "--model", "base", "--dtype", "float32"),
        ("run", "--m2", "gold.m2", "--data", "rows.jsonl", "--source", "a"),
        ("run", "--engine", "lm-eval", "--tasks", "hellaswag", "--num-fewshot", "5"),
        ("--predictions", "a.jsonl", "--predictions2", "b.jsonl", "--limit", "3"),
    ],
)
def test_what_fits_together_has_no_faults(argv: tuple[str, ...]) -> None:
    assert faults_of(*argv) == []


def test_whose_answers_are_asked_for() -> None:
    assert model_names(parse(["run"], "")) == ["base", "tuned"]
    assert model_names(parse(["run", "--model", "base"], "")) == ["base"]
    assert model_names(parse(["run", "--compare", "other"], "")) == ["tuned"]


def test_something_must_be_evaluated() -> None:
    assert faults_of() == [
        "CHECKPOINT: expected a checkpoint (directory, run or UUID), or --predictions"
    ]


def test_flags_without_an_effect_are_faults() -> None:
    argv = ("run", "--predictions", "a", "--model", "base", "--max-new-tokens", "0")
    found = faults_of(*argv)
    for name in ("CHECKPOINT", "--model", "--max-new-tokens"):
        assert f"{name}: has no effect with --predictions, whose answers are there" in found
    assert "--max-new-tokens: expected at least 1, got 0" in found
    assert faults_of("run", "--data", "a", "--split", "val") == [
        "--data: takes the place of --split: say one of them"
    ]
    assert faults_of("run", "--compare", "b", "--model", "both") == [
        "--compare: compares one model with it: --model tuned or base"
    ]
    assert faults_of("run", "--engine", "lm-eval", "--metrics", "bleu") == [
        "--metrics: has no effect with --engine lm-eval",
        "--tasks: --engine lm-eval needs the names of its tasks",
    ]
    assert faults_of("run", "--m2", "gold.m2", "--split", "val") == [
        "--split: has no effect with --m2, whose sentences are asked"
    ]
    assert faults_of("run", "--perplexity-text", "a.txt", "--metrics", "bleu") == [
        "--perplexity-text: has no effect: --metrics does not name perplexity"
    ]
    few = ("run", "--engine", "lm-eval", "--tasks", "a", "--num-fewshot", "-1")
    assert faults_of(*few) == ["--num-fewshot: expected at least 0, got -1"]
    assert faults_of("run", "--metrics", ",") == ["--metrics: names none"]
