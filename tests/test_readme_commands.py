"""What the README says to do with the quickstart's result can be done, command by command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, rank_environment

SECTION = "## Use the result"
RUN = "runs/smollm2_135m_quickstart/1"


def commands() -> list[list[str]]:
    """The words of each command of the section's code block, but for comments."""
    text = (ROOT / "README.md").read_text().split(SECTION)[1]
    block = re.search(r"```bash\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return [shlex.split(line, comments=True) for line in block[1].splitlines()]


def test_every_use_has_its_command() -> None:
    modules = [words[2] for words in commands() if words[:2] == ["python", "-m"]]
    assert {name.removeprefix("det_files.") for name in modules} == {
        "generate",
        "chat",
        "evaluate",
        "export",
    }
    assert ["make", "notebook", f"RUN={RUN}"] in commands()


def test_they_do_what_is_said(tiny_run: Path, tmp_path: Path) -> None:
    """In their order, each with what those before it have written; a small run stands for it."""
    for words in commands():
        if words[0] == "make":  # the notebook has its own test: it runs for a minute
            makefile = (ROOT / "Makefile").read_text()
            assert "-m det_files.notebook $(RUN)" in makefile
            continue
        run = [str(tiny_run) if word == RUN else word for word in words[1:]]
        if "det_files.chat" in run:  # the small model has no more positions than a long answer
            run += ["--max-new-tokens", "32"]
        done = subprocess.run(
            [sys.executable, *run],
            cwd=tmp_path,
            env=rank_environment(),
            input="the red cat\n/compare\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr)
    assert (tmp_path / "results" / "answers.jsonl").read_text().count('"answer"') == 5
    assert (tmp_path / "results" / "scores" / "evaluation.json").is_file()
    assert (tmp_path / "exports" / "my_model" / "model.safetensors").is_file()
