"""Notes, results and the progress line; terminals that have gone."""

import io
import os
import sys
from pathlib import Path

from det_files.local.terminal import Terminal


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_rewrites_its_line_and_notes_stay() -> None:
    notes, results = Tty(), io.StringIO()
    terminal = Terminal(notes, results)
    terminal.progress("step 1")
    terminal.progress("step 2" + "." * 500)
    terminal.note("saved")
    terminal.progress("step 3")
    terminal.result("runs/1")
    parts = notes.getvalue().split("\r\x1b[K")
    assert parts[1] == "step 1"
    assert parts[2].startswith("step 2") and len(parts[2]) < 500  # a wrapped line cannot be erased
    assert parts[3:] == ["saved\n", "step 3", ""]
    assert results.getvalue() == "runs/1\n"


def test_a_reader_that_has_gone_does_not_end_the_run() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        terminal = Terminal(broken, broken)
        terminal.note("nobody reads this")
        terminal.result("nor this")
        broken.buffer.raw.close()  # type: ignore[attr-defined]
    closed = io.StringIO()
    closed.close()
    Terminal(io.StringIO(), closed).result("nor this")


def test_paths_are_shown_from_where_people_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(io.StringIO(), io.StringIO())
    monkeypatch.chdir("/")
    assert terminal.path(tmp_path / "runs" / "1") == "runs/1"
    assert terminal.path(Path("/elsewhere/1")) == "/elsewhere/1"


def test_the_command_names_the_interpreter_that_a_shell_would_find(monkeypatch) -> None:
    terminal = Terminal(io.StringIO(), io.StringIO())
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    words = ("--resume", "runs/my run/1")
    assert terminal.command(*words) == "python -m det_files.local --resume 'runs/my run/1'"
    monkeypatch.setenv("PATH", "/nowhere")
    assert terminal.command("a").split()[0] == terminal.path(Path(sys.executable))
