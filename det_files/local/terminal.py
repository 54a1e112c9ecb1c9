"""What people see: notes and the lines of progress on stderr, results on stdout.

stdout keeps to the outcome, so that `$(… | tail -1)` gives the run directory while the progress is
still seen. A terminal that has gone away (a closed window, `| head`) must not end a training run:
failing writes are dropped.
"""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

ERASE_LINE = "\r\x1b[K"
ERASE_BELOW = "\x1b[J"


class Terminal:
    """The two output streams, and the directory that the people before them are in.

    `interactive` says whether lines can be rewritten in place.
    """

    def __init__(
        self,
        notes: TextIO | None = None,
        results: TextIO | None = None,
        module: str = "det_files.local",
    ):
        """`module` is the one whose commands are shown."""
        self._module = module
        self._notes = notes or sys.stderr
        self._results = results or sys.stdout
        self.directory = Path.cwd()  # kept: a resumed run goes back to where it was started
        self.interactive = self._notes.isatty()
        self._shown: list[str] = []  # the lines of progress; the cursor stands behind the last

    def note(self, text: str) -> None:
        """Shows a line that stays."""
        self._write(self._notes, self._erase() + text + "\n")

    def progress(self, text: str) -> None:
        """Shows the progress: on a terminal in place of the last one, elsewhere as a new line."""
        if not self.interactive:
            self.note(text)
            return
        self.progress_lines([text])

    def progress_lines(self, lines: Sequence[str]) -> None:
        """Shows several lines of progress in place of the last ones; only on a terminal.

        Elsewhere nothing is shown: a table that is repeated fills a log and tells little.
        """
        if not self.interactive:
            return
        width, height = self.size
        text = self._to_first_line() if lines else self._erase()
        # What scrolls out of the window at its top, or wraps, cannot be rewritten.
        self._shown = [line[:width] for line in lines[:height]]
        text += "\n".join(ERASE_LINE + line for line in self._shown)
        self._write(self._notes, text)

    @property
    def size(self) -> tuple[int, int]:
        """The (characters, lines) that the progress may take up."""
        size = shutil.get_terminal_size()
        return max(1, size.columns - 1), max(1, size.lines - 1)

    @property
    def result_width(self) -> int | None:
        """The characters in a line of results; None where nobody wraps them (a pipe, a file)."""
        return self.size[0] if self._results.isatty() else None

    def result(self, text: str) -> None:
        """Writes a line of the outcome to stdout."""
        if self._shown:
            self._write(self._notes, self._erase())
        self._write(self._results, text + "\n")

    def path(self, path: Path) -> str:
        """Returns how people would write the path: from their directory where it lies below."""
        below = path.is_relative_to(self.directory)
        return str(path.relative_to(self.directory) if below else path)

    def command(self, *words: str) -> str:
        """Returns the shell command for `python -m <the module> <words>`."""
        python = self.path(Path(sys.executable))
        for name in ("python", "python3"):
            if shutil.which(name) == sys.executable:
                python = name
                break
        return shlex.join([python, "-m", self._module, *words])

    def _erase(self) -> str:
        if not self._shown:
            return ""
        erase = self._to_first_line() or ERASE_LINE
        self._shown = []
        return erase

    def _to_first_line(self) -> str:
        """Returns what puts the cursor before the lines shown and erases them.

        A single line needs no more than what rewrites it. Lines that have been wrapped since, by a
        window made narrower, count as often as they now take up a row.
        """
        columns = self.size[0] + 1
        rows = sum(max(1, -(-len(line) // columns)) for line in self._shown)
        return f"\r\x1b[{rows - 1}A{ERASE_BELOW}" if rows > 1 else ""

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            pass  # gone or closed: nobody looks
