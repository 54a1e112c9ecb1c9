"""The registry of metrics: every name's scores, by real scorers, and what a name needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from det_files.evaluation.bootstrap import compare, estimate
from det_files.evaluation.m2_file import parse_m2
from det_files.evaluation.metrics import (
    METRICS,
    Scored,
    find_unknown,
    of_texts,
    score,
    scores_of,
)
from det_files.evaluation.perplexity import DocumentLoss, TextLosses
from det_files.faults import Faults

M2 = """S The cat sat at mat .
A 3 4|||Prep|||on|||REQUIRED|||-NONE-|||0
A 4 4|||ArtOrDet|||the||a|||REQUIRED|||-NONE-|||0

S It is fine .
"""


def rows(*pairs: tuple[str, str]) -> list[Scored]:
    return [Scored("?", answer, reference, 3, False) for answer, reference in pairs]


def values(names: list[str], scored: list[Scored]) -> dict[str, float]:
    return {name: found.value for name, found in score(names, scored).items()}


def test_json_values_and_texts_are_compared_apart() -> None:
    found = values(
        ["exact_match", "valid_json"],
        rows(('{"a":1}', '{"a": 1}'), ("[1]", "[1]"), ("no", "[2]"), ("[3]", "[4]")),
    )
    assert found == {"exact_match": 50.0, "exact_string_match": 25.0, "valid_json": 75.0}


def test_final_answers_strict_and_flexible() -> None:
    found = values(
        ["final_answer"],
        rows(("so\n#### 18", "#### 18"), ("it is 18.", "#### 18"), ("#### 2", "#### 3")),
    )
    assert found["final_answer_strict"] == pytest.approx(100 / 3)
    assert found["final_answer_flexible"] == pytest.approx(200 / 3)


def test_texts_are_scored_as_text_metrics_does() -> None:
    from det_files.evaluation.text_metrics import text_scores

    pairs = rows(("a cat sat on a mat", "the cat sat on the mat"), ("good day", "good day"))
    expected = text_scores([r.answer for r in pairs], [r.reference or "" for r in pairs])
    found = values(["rouge", "bleu", "chrf"], pairs)
    assert found == pytest.approx({name: expected[name] for name in found})
    assert list(found) == ["rouge1", "rouge2", "rougeL", "bleu", "chrf"]


def test_corrections_are_scored_against_gold_in_per_cent() -> None:
    gold = parse_m2(M2.splitlines())
    answers = [Scored("", "The cat sat on mat ."), Scored("", "It was fine .")]
    found = score(["m2"], answers, gold)
    assert found["m2_precision"].value == pytest.approx(50.0)  # on is right, was is not
    assert found["m2_recall"].value == pytest.approx(50.0)
    assert found["m2_f0.5"].value == pytest.approx(50.0)
    # The first sentence alone: 1 correct, 1 proposed, 2 gold.
    assert estimate(found["m2_f0.5"]).high == pytest.approx(100 * 1.25 / 1.5)
    with pytest.raises(ValueError, match="1 predictions for 2 gold"):
        score(["m2"], answers[:1], gold)


def test_answers_are_measured_without_references() -> None:
    answers = [Scored("?", "four", None, 2, False), Scored("?", "", None, 8, True)]
    assert values(["length", "tokens"], answers) == {
        "answer_characters": 2.0,
        "answer_tokens": 5.0,
        "cut_off": 50.0,
    }


def test_what_is_lacking_is_said() -> None:
    answers = [Scored("?", "a", "a"), Scored("?", "b")]
    with pytest.raises(ValueError, match="1 of 2 rows have no reference"):
        score(["bleu"], answers)
    with pytest.raises(ValueError, match="count of tokens"):
        score(["tokens"], answers)
    with pytest.raises(ValueError, match="measured on the model"):
        score(["perplexity"], answers)


def test_an_unknown_name_is_met_by_the_nearest() -> None:
    faults = Faults()
    find_unknown("--metrics", ["bleu", "rogue", "zzz"], faults)
    first, second = map(str, faults.found)
    assert first == '--metrics: no metric is called "rogue"; did you mean "rouge"?'
    assert second.endswith("there are " + ", ".join(METRICS))


@pytest.mark.parametrize("name", [n for n in METRICS if n not in ("errant", "perplexity")])
def test_a_metric_gives_the_scores_that_it_names(name: str) -> None:
    gold = parse_m2(M2.splitlines())
    found = score([name], rows(("#### 1", "#### 1"), ("#### 2", "#### 1")), gold)
    assert list(found) == list(scores_of([name]))
    for statistics in found.values():
        assert estimate(statistics, resamples=20).rows == 2
        assert compare(statistics, statistics, resamples=20).p_value == 1


def test_texts_have_the_scores_of_perplexity() -> None:
    found = of_texts(TextLosses((DocumentLoss(2.0, 4, 1, 8, 9), DocumentLoss(1.0, 2, 2, 3, 3))))
    assert list(found) == list(scores_of(["perplexity"]))
    assert found["token_accuracy"].value == pytest.approx(50.0)
    assert found["perplexity"].value == pytest.approx(2.718281828**0.5)


def test_names_are_checked_without_heavy_packages() -> None:
    code = (
        "import sys, det_files.evaluation.metrics, det_files.evaluation.fitting;"
        "print([m for m in ('torch', 'datasets', 'evaluate', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
