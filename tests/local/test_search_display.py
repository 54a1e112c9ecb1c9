"""What reaches the terminal of a running search."""

import io
from dataclasses import replace

from det_files.local.search_display import SearchDisplay
from det_files.local.search_rows import TrialRow
from det_files.local.terminal import Terminal

from .test_terminal import Tty, screen_of

SEARCHER = {"name": "random", "metric": "eval_loss", "smaller_is_better": True}
FIRST = TrialRow(1, "RUNNING", {"r": 8})
SECOND = TrialRow(2, "QUEUED", {"r": 16})


def test_without_a_terminal_each_event_is_one_line() -> None:
    notes = io.StringIO()
    display = SearchDisplay(Terminal(notes, io.StringIO()), SEARCHER, "epochs")
    for _ in range(3):
        display.show([FIRST, SECOND])
    ended = replace(FIRST, state="COMPLETED", steps=6, best=2.0, metric=2.0, stopped_at=6)
    for _ in range(3):
        display.show([ended, replace(SECOND, state="RUNNING", steps=0)])
        display.show([ended, replace(SECOND, state="RUNNING", steps=3)])
    display.show([ended, replace(SECOND, state="ERROR", steps=3)])
    assert notes.getvalue().splitlines() == [
        "trial 1 started: r 8",
        "trial 1 stopped by the searcher at 6 epochs: 6 steps in 0s, eval_loss 2.0000",
        "trial 2 started: r 16",
        "trial 2 failed: 3 steps in 0s",
    ]


def test_what_ended_before_a_search_was_resumed_is_no_event() -> None:
    notes = io.StringIO()
    display = SearchDisplay(Terminal(notes, io.StringIO()), SEARCHER)
    display.show([replace(FIRST, state="COMPLETED"), replace(SECOND, state="RUNNING", steps=4)])
    assert notes.getvalue() == "trial 2 continues from step 4: r 16\n"


def test_on_a_terminal_the_table_is_redrawn_at_once_for_an_event_and_else_at_times() -> None:
    notes = Tty()
    display = SearchDisplay(Terminal(notes, io.StringIO()), SEARCHER)
    display.show([FIRST, SECOND])
    shown = notes.getvalue()
    display.show([replace(FIRST, steps=1), SECOND])
    assert notes.getvalue() == shown  # too soon
    display.show([replace(FIRST, steps=2, state="ERROR"), SECOND])
    screen = screen_of(notes.getvalue())
    assert screen[0] == "2 trials  1 failed, 1 queued"
    assert screen[2].split() == ["1", "failed", "8", "2"]
    assert len(screen) == 4
