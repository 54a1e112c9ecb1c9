"""The preference data: reproducible, and each rejected answer wrong in one value alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parent.parent / "data" / "preferences"


def test_the_files_are_what_the_script_writes() -> None:
    script = [sys.executable, str(DATA / "make_data.py"), "--check"]
    assert subprocess.run(script, check=False).returncode == 0


@pytest.mark.parametrize(("split", "count"), [("train", 600), ("val", 100), ("test", 100)])
def test_one_value_is_wrong(split: str, count: int) -> None:
    rows = [json.loads(line) for line in (DATA / split / f"{split}.jsonl").open()]
    quickstart = DATA.parent / "quickstart" / split / f"{split}.jsonl"
    right = {row["input"]: row["output"] for row in map(json.loads, quickstart.open())}
    assert len(rows) == count
    wrong_keys = set()
    for row in rows:
        assert row["chosen"] == right[row["prompt"]]
        chosen, rejected = json.loads(row["chosen"]), json.loads(row["rejected"])
        assert list(chosen) == list(rejected)
        (key,) = (key for key in chosen if chosen[key] != rejected[key])
        assert type(chosen[key]) is type(rejected[key])
        wrong_keys.add(key)
    assert wrong_keys == {"name", "item", "quantity", "time"}
