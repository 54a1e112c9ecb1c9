"""The running line: how much, how fast, how long still."""

from __future__ import annotations

import io

from det_files.evaluation.progress import Counter
from det_files.local.progress import PLAIN_INTERVAL_S
from det_files.local.terminal import Terminal


def test_a_line_comes_now_and_then_and_one_at_the_end() -> None:
    notes, now = io.StringIO(), [100.0]
    counter = Counter(Terminal(notes), "tuned", 200, clock=lambda: now[0])
    counter.add(19)
    assert notes.getvalue() == ""
    assert "ETA" not in counter.line()
    now[0] += PLAIN_INTERVAL_S
    counter.add(21)
    counter.add()
    assert notes.getvalue() == "tuned: 40/200 rows  4.0 rows/s  ETA 40s\n"
    now[0] += 2 * PLAIN_INTERVAL_S
    counter.add(159)
    counter.finish()
    assert notes.getvalue().splitlines()[1:] == ["tuned: 200 rows in 30s  6.7 rows/s"]
