"""benchmarks.data on tiny rows: every part in a process of its own, and ratios of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.data import main
from tiny import make_data, make_model


def test_preparation_is_compared_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="needs trl==1.16.0")
    # One core: TRL's second run, with a process a core, would be the first one again.
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    result = tmp_path / "result.json"
    words = ["--model", str(make_model(tmp_path / "model"))]
    words += ["--data", str(make_data(tmp_path / "data")), "--block-size", "64"]
    assert main([*words, "--repeats", "1", "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    ours, trl = found["medians"]["ours"], found["medians"]["trl"]
    assert ours["rows"] == trl["rows"] == 40
    # TRL learns the line break behind the end token too.
    assert trl["tokens"] == ours["tokens"] + 40
    assert found["ratios"]["trl"] == trl["seconds"] / ours["seconds"]
    assert ours["cached_seconds"] > 0
    assert 0 < found["packing"]["fill_1024"] <= 1
    assert "trl's seconds / ours" in capsys.readouterr().out
