"""What people see: notes and one progress line on stderr, results on stdout.

stdout keeps to the outcome, so that `$(… | tail -1)` gives the run directory while the progress is
still seen. A terminal that has gone away (a closed window, `| head`) must not end a training run:
failing writes are dropped.
"""

import shlex
import shutil
import sys
from pathlib import Path
from typing import TextIO

ERASE_LINE = "\r\x1b[K"


class Terminal:
    """The two output streams, and the directory that the people before them are in.

    `interactive` says whether a line can be rewritten in place.
    """

    def __init__(self, notes: TextIO | None = None, results: TextIO | None = None):
        self._notes = notes or sys.stderr
        self._results = results or sys.stdout
        self.directory = Path.cwd()  # kept: a resumed run goes back to where it was started
        self.interactive = self._notes.isatty()
        self._line_shown = False

    def note(self, text: str) -> None:
        """Shows a line that stays."""
        self._write(self._notes, self._erase() + text + "\n")

    def progress(self, text: str) -> None:
        """Shows the progress: on a terminal in place of the last one, elsewhere as a new line."""
        if not self.interactive:
            self.note(text)
            return
        width = shutil.get_terminal_size().columns - 1
        self._write(self._notes, ERASE_LINE + text[:width])
        self._line_shown = True

    def result(self, text: str) -> None:
        """Writes a line of the outcome to stdout."""
        if self._line_shown:
            self._write(self._notes, self._erase())
        self._write(self._results, text + "\n")

    def path(self, path: Path) -> str:
        """Returns how people would write the path: from their directory where it lies below."""
        below = path.is_relative_to(self.directory)
        return str(path.relative_to(self.directory) if below else path)

    def command(self, *words: str) -> str:
        """Returns the shell command for `python -m det_files.local <words>`."""
        python = self.path(Path(sys.executable))
        for name in ("python", "python3"):
            if shutil.which(name) == sys.executable:
                python = name
                break
        return shlex.join([python, "-m", "det_files.local", *words])

    def _erase(self) -> str:
        erase = ERASE_LINE if self._line_shown else ""
        self._line_shown = False
        return erase

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            pass  # gone or closed: nobody looks
