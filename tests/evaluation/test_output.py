"""Where results go, and that nothing is written over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from det_files.evaluation.arguments import parse
from det_files.evaluation.metrics import Scored, score, scores_of
from det_files.evaluation.output import find_output_faults, write_output
from det_files.evaluation.predictions import read_predictions, to_record
from det_files.evaluation.results import Measured, to_results
from det_files.faults import Faults

ROW = Scored("in", "ant", "ant")


def write(output: Path, *names: str) -> Path:
    measured = [
        Measured(name, score(["exact_match"], [ROW]), [to_record(1, ROW, {})]) for name in names
    ]
    results = to_results(measured, scores_of(["exact_match"]))
    return write_output(output, measured, results, {"rows": 1}, parse(["run"], ""))


def faults_of(output: Path) -> list[str]:
    faults = Faults()
    find_output_faults(output, faults)
    return [str(fault) for fault in faults.found]


@pytest.mark.parametrize("name", ["new/dir", "new/ours.json"])
def test_answers_lie_beside_the_results(tmp_path: Path, name: str) -> None:
    assert faults_of(tmp_path / name) == []
    file = write(tmp_path / name, "x/a.jsonl", "y/a.jsonl")
    found = json.loads(file.read_text())
    assert list(found)[:2] == ["rows", "scores"]
    assert len(set(found["predictions"].values())) == 2
    for beside in found["predictions"].values():
        assert read_predictions(file.parent / beside)[0].scored == ROW
    assert faults_of(tmp_path / name) != []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == []
    write(tmp_path / "a.json", "base")
    (tmp_path / "a.json").unlink()
    assert faults_of(tmp_path / "a.json") == [
        f"--output: {tmp_path}/a.predictions.base.jsonl exists"
    ]
    assert faults_of(tmp_path / "b.json") == []
    assert faults_of(tmp_path) == [f"--output: {tmp_path} exists and is not empty"]
    odd = tmp_path / "odd"
    odd.touch()
    assert "is a file" in faults_of(odd)[0]
    (tmp_path / "res[1].predictions.base.jsonl").touch()
    assert "res[1].predictions.base.jsonl exists" in faults_of(tmp_path / "res[1].json")[0]


@pytest.mark.parametrize("name", ["file/dir", "file/deep/ours.json"])
def test_what_cannot_be_written_is_known_before_anything_is_asked(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    assert faults_of(tmp_path / name) == [
        f"--output: {tmp_path / name}: {tmp_path}/file is no directory"
    ]
