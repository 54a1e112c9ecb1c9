"""The metrics that fit rows where none is named, and what rows lack for those that are."""

from __future__ import annotations

from det_files.evaluation.fitting import find_unmet_needs, fitting_metrics
from det_files.evaluation.metrics import Scored
from det_files.faults import Faults


def rows(*references: str | None, tokens: int | None = None) -> list[Scored]:
    cut_off = None if tokens is None else False
    return [Scored("?", "", reference, tokens, cut_off) for reference in references]


def test_metrics_fit_what_references_are() -> None:
    assert fitting_metrics(rows('{"a": 1}', "[2]")) == ["exact_match", "valid_json"]
    assert fitting_metrics(rows("so 1\n#### 1", "#### 2")) == ["final_answer"]
    assert fitting_metrics(rows('{"a": 1}', "a text")) == ["exact_match", "rouge", "bleu", "chrf"]
    assert fitting_metrics(rows("so\n#### nothing"))[0] == "exact_match"
    assert fitting_metrics(rows("12", "13"))[0] == "exact_match"


def test_what_else_is_there_counts() -> None:
    assert fitting_metrics(rows("#### 1", tokens=4)) == ["final_answer", "tokens"]
    assert fitting_metrics(rows("a", None)) == ["length"]
    assert fitting_metrics(rows("a"), gold=True, texts=True) == ["m2", "perplexity"]
    assert fitting_metrics([], texts=True) == ["perplexity"]


def test_all_that_is_lacking_is_noted_at_once() -> None:
    faults = Faults()
    find_unmet_needs(
        ["bleu", "final_answer", "tokens", "m2", "errant", "perplexity"],
        rows("#### 1", None, "none", None),
        [f"a.jsonl:{line}" for line in range(1, 5)],
        faults,
        gold=3,
    )
    assert [str(fault) for fault in faults.found] == [
        "a.jsonl:2: bleu needs a reference, which this row lacks (and 1 more)",
        "a.jsonl:2: final_answer needs a reference, which this row lacks (and 1 more)",
        "a.jsonl:3: final_answer needs a number in the reference",
        "a.jsonl:1: tokens needs counts of tokens, which this row lacks (and 3 more)",
        "--m2: has 3 sentences, but there are 4 answers",
        "--perplexity-text: perplexity needs a file of texts",
    ]


def test_gold_that_is_not_there_is_noted_for_each_metric() -> None:
    faults = Faults()
    find_unmet_needs(["m2", "length"], rows(None), ["a:1"], faults)
    assert [str(fault) for fault in faults.found] == ["--m2: m2 needs a file of gold corrections"]


def test_zero_is_a_number() -> None:
    faults = Faults()
    find_unmet_needs(["final_answer"], rows("#### 0"), ["a:1"], faults)
    assert not faults.found
