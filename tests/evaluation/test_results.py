"""Tables and JSON of one model's scores and of two."""

from __future__ import annotations

import json

import pytest

from det_files.evaluation.metrics import Scored, score, scores_of
from det_files.evaluation.results import Measured, row_scores, to_results

NAMES = ["final_answer", "length"]


def measured(name: str, *answers: str) -> Measured:
    return Measured(name, score(NAMES, [Scored("?", answer, "#### 1") for answer in answers]))


def test_two_models_have_a_difference() -> None:
    base = measured("base", "#### 2", "#### 3", "none", "#### 1")
    tuned = measured("tuned", "#### 1", "#### 1", "1", "#### 1")
    results = to_results([base, tuned], scores_of(NAMES))
    lines = results.render().splitlines()
    assert lines[0].split() == ["base", "tuned", "difference"]
    assert lines[1].startswith("final_answer_strict (%)")
    assert "25.0 [" in lines[1]
    assert "75.0 [" in lines[1]
    assert "+50.0 [" in lines[1]
    assert lines[-1] == "in brackets: 95 % intervals; difference: tuned less base, row by row"
    found = json.loads(json.dumps(results.to_dict(), allow_nan=False))
    flexible = found["final_answer_flexible"]
    assert (flexible["unit"], flexible["better"]) == ("%", "higher")
    assert flexible["tuned"]["value"] == 100.0
    assert flexible["difference"]["value"] == 75.0
    assert flexible["difference"]["rows"] == 4


def test_one_model_has_none() -> None:
    results = to_results([measured("tuned", "#### 1", "2")], scores_of(NAMES))
    assert results.differences == {}
    assert "difference" not in results.render()
    assert "difference" not in results.to_dict()["answer_characters"]


def test_a_row_alone_has_scores_of_its_own() -> None:
    found = measured("tuned", "#### 1", "22").statistics
    assert row_scores(found, 0) == {
        "final_answer_strict": 100.0,
        "final_answer_flexible": 100.0,
        "answer_characters": 6.0,
    }
    assert row_scores(found, 1)["answer_characters"] == pytest.approx(2.0)
