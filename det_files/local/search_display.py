"""What people see of a search while it runs: a table on a terminal, elsewhere a line an event."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from det_files.local.progress import REDRAW_INTERVAL_S
from det_files.local.search_rows import QUEUED, TrialRow
from det_files.local.search_table import event_line, table_lines
from det_files.local.terminal import Terminal


class SearchDisplay:
    """Shows a search's trials on the terminal, as often as it is told how they stand."""

    def __init__(self, terminal: Terminal, searcher: Mapping[str, Any], unit: str = "batches"):
        """Shows nothing yet.

        Args:
            terminal: Where to show it.
            searcher: summary["searcher"].
            unit: The search's time metric.
        """
        self._terminal = terminal
        self._searcher = searcher
        self._unit = unit
        self._known: dict[int, tuple[str, float | None]] | None = None
        self._shown_at = 0.0

    def show(self, rows: Sequence[TrialRow]) -> None:
        """Shows how all trials decided upon stand; calls may come at any rate.

        Trials that have ended before the first call (a resumed search) are no events.
        """
        changed = self._changed(rows)
        if not self._terminal.interactive:
            for row in changed:
                self._terminal.note(event_line(row, self._searcher["metric"], self._unit))
            return
        now = time.monotonic()
        if changed or now - self._shown_at >= REDRAW_INTERVAL_S:
            self._shown_at = now
            self._terminal.progress_lines(table_lines(rows, self._searcher, *self._terminal.size))

    def _changed(self, rows: Sequence[TrialRow]) -> list[TrialRow]:
        """Returns the trials that have started, ended or been stopped since the last call."""
        now = {row.number: (row.state, row.stopped_at) for row in rows}
        before = self._known
        self._known = now
        if before is None:
            return [row for row in rows if row.runs]
        return [
            row for row in rows if row.state != QUEUED and before.get(row.number) != now[row.number]
        ]
