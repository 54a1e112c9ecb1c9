"""Notes, results and the progress line; terminals that have gone."""

import io
import os
import re
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


def screen_of(written: str) -> list[str]:
    """The lines that a terminal shows after `written`, by the few sequences that are used."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\d*[AKJ]|[\r\n]|[^\x1b\r\n]+", written):
        if token == "\r":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[K":
            lines[row] = lines[row][:column]
        elif token == "\x1b[J":
            lines[row:] = [lines[row][:column]]
        elif token.startswith("\x1b["):
            row -= int(token[2:-1])
            assert row >= 0
        else:
            lines[row] = lines[row][:column] + token + lines[row][column + len(token) :]
            column += len(token)
    return lines


def test_several_lines_are_rewritten_and_notes_stay_above_them() -> None:
    notes, results = Tty(), io.StringIO()
    terminal = Terminal(notes, results)
    terminal.note("begins")
    terminal.progress_lines(["head", "trial 1 long", "trial 2"])
    assert screen_of(notes.getvalue()) == ["begins", "head", "trial 1 long", "trial 2"]
    terminal.progress_lines(["head", "trial 1", "trial 2", "trial 3"])
    assert screen_of(notes.getvalue()) == ["begins", "head", "trial 1", "trial 2", "trial 3"]
    terminal.note("a warning")
    terminal.progress_lines(["head", "trial 3"])
    assert screen_of(notes.getvalue()) == ["begins", "a warning", "head", "trial 3"]
    terminal.progress_lines(["one"])
    terminal.progress("step 1")
    assert screen_of(notes.getvalue()) == ["begins", "a warning", "step 1"]
    terminal.progress_lines(["head", "trial 3"])
    terminal.progress_lines([])
    assert screen_of(notes.getvalue()) == ["begins", "a warning", ""]
    terminal.progress_lines(["head", "trial 3"])
    terminal.result("runs/1")
    assert screen_of(notes.getvalue()) == ["begins", "a warning", ""]
    assert results.getvalue() == "runs/1\n"


def test_lines_keep_within_the_window(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    notes = Tty()
    terminal = Terminal(notes, io.StringIO())
    assert terminal.size == (19, 4)
    terminal.progress_lines([f"{n}" * 50 for n in range(9)])
    assert screen_of(notes.getvalue()) == [f"{n}" * 19 for n in range(4)]


def test_lines_that_a_narrower_window_has_wrapped_are_erased_whole(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    notes = Tty()
    terminal = Terminal(notes, io.StringIO())
    terminal.progress_lines(["a" * 19, "b" * 5])
    monkeypatch.setenv("COLUMNS", "10")  # 19 characters now take two rows
    notes.truncate(0)
    terminal.note("x")
    assert notes.getvalue().lstrip("\0") == "\r\x1b[2A\x1b[Jx\n"


def test_without_a_terminal_no_table_is_written() -> None:
    notes = io.StringIO()
    Terminal(notes, io.StringIO()).progress_lines(["head", "trial 1"])
    assert notes.getvalue() == ""


def test_results_have_a_width_on_a_terminal_only(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert Terminal(io.StringIO(), Tty()).result_width == 19
    assert Terminal(Tty(), io.StringIO()).result_width is None


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
