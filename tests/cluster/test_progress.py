"""Progress never holds training up, and its last word always arrives."""

from __future__ import annotations

import threading
import time

import pytest

from det_files.cluster.progress import ProgressReporter
from det_files.cluster.search import Position


def at(step: int) -> Position:
    return Position(step, step / 10, step * 4, step / 100)


def test_the_latest_and_the_last_are_sent_from_a_thread() -> None:
    sent: list[int] = []
    first = threading.Event()

    def send(position: Position) -> None:
        sent.append(position.batches)
        first.set()

    reporter = ProgressReporter(send, in_background=True)
    reporter.report(at(1))
    assert first.wait(10)
    for step in range(2, 50):
        reporter.report(at(step))
    reporter.close()
    # One at once, none of those within the interval but the last.
    assert sent == [1, 49]


def test_a_master_that_does_not_answer_costs_training_nothing() -> None:
    answered = threading.Event()
    reporter = ProgressReporter(lambda position: bool(answered.wait(30)), in_background=True)
    began = time.monotonic()
    for step in range(1, 100):
        reporter.report(at(step))
    assert time.monotonic() - began < 5
    answered.set()
    reporter.close()


@pytest.mark.parametrize("in_background", [True, False])
def test_a_failure_is_said_and_swallowed(
    in_background: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def send(position: Position) -> None:
        raise OSError("no route")

    reporter = ProgressReporter(send, in_background)
    reporter.report(at(1))
    reporter.close()
    assert "progress was not reported: no route" in caplog.text


def test_in_the_foreground_every_position_is_sent() -> None:
    sent: list[int] = []
    reporter = ProgressReporter(lambda position: sent.append(position.batches), False)
    for step in (1, 2, 3):
        reporter.report(at(step))
    reporter.close()
    assert sent == [1, 2, 3]
