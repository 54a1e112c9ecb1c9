"""benchmarks.generation on tiny rows: all contenders answer alike, and are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.generation import EQUAL, NAIVE, OWN, main
from tiny import make_data, make_model


def test_contenders_answer_alike_and_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data")
    (data / "test" / "rows.jsonl").rename(data / "test" / "test.jsonl")
    words = ["--model", str(make_model(tmp_path / "model")), "--data", str(data)]
    words += ["--rows", "4", "--batch-size", "2", "--max-new-tokens", "5", "--rounds", "2"]
    assert main([*words, "--json", str(tmp_path / "result.json")]) == 0
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["rows"] == 4
    assert found["same_answers"] == {EQUAL: 4, OWN: 4}
    rates, ratios = found["rates"], found["ratios"]
    for name in (EQUAL, OWN):
        ratio = rates[name]["rows_per_second"] / rates[NAIVE]["rows_per_second"]
        assert ratios[name]["rows_per_second"] == ratio > 0
    assert "4 answers the same" in capsys.readouterr().out
