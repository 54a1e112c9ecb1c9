"""The files of an evaluation: its results as JSON, and beside them the answers that were scored."""

from __future__ import annotations

import argparse
import glob
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from det_files.durable import obstacle_to, write_atomically
from det_files.evaluation.predictions import name_in_files, write_records
from det_files.evaluation.results import Measured, Results
from det_files.faults import Faults
from det_files.provenance import git_commit, versions

RESULTS_FILE = "evaluation.json"


def find_output_faults(output: Path | None, faults: Faults) -> None:
    """Notes why nothing can be written there: nothing that exists is written over."""
    if output is None:
        return
    if obstacle := obstacle_to(output.parent):
        faults.add("--output", f"{output}: {obstacle}")
    elif output.suffix == ".json":
        there = [output] if output.exists() else []
        answers = _file_of(glob.escape(f"{output.stem}."), "*")
        for path in there or sorted(output.parent.glob(answers)):
            faults.add("--output", f"{path} exists")
    elif output.exists() and not output.is_dir():
        faults.add("--output", f"{output} is a file: name a directory, or a file *.json")
    elif output.is_dir() and any(output.iterdir()):
        faults.add("--output", f"{output} exists and is not empty")


def write_output(
    output: Path,
    measured: Sequence[Measured],
    results: Results,
    facts: Mapping[str, Any],
    options: argparse.Namespace,
) -> Path:
    """Writes the answers and then the results; returns the file of these.

    Args:
        output: a directory, or a file of JSON; absent, as `find_output_faults` found.
        facts: what was evaluated; stands first.
        options: all that was said.
    """
    is_file = output.suffix == ".json"
    file = output if is_file else output / RESULTS_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    lead = f"{output.stem}." if is_file else ""
    answers = {}
    for one in measured:
        if one.records:
            name = _file_of(lead, name_in_files(one.name))
            write_records(file.parent / name, one.records)
            answers[one.name] = name
    found = {
        **facts,
        "scores": results.to_dict(),
        "predictions": answers,
        "seconds": {m.name: round(m.seconds, 1) for m in measured if m.seconds is not None},
        "settings": _settings(options),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    write_atomically(file, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return file


def _file_of(lead: str, model: str) -> str:
    return f"{lead}predictions.{model}.jsonl"


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    said = vars(options).items()
    return {name: _plain(value) for name, value in said if value is not None and name != "output"}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
