"""Requests to stop: a file or SIGTERM, asked by the chief, acknowledged by a file."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from determined import core

from det_files.cluster.preemption import StopFilePreemptContext


def started(trial: Path) -> StopFilePreemptContext:
    context = StopFilePreemptContext(core.DummyDistributedContext(), trial)
    context.start()
    return context


def test_a_file_asks_and_a_file_acknowledges(tmp_path: Path) -> None:
    context = started(tmp_path)
    assert not context.should_preempt(auto_ack=False)
    (tmp_path / "stop").touch()
    assert context.should_preempt(auto_ack=False)
    assert not (tmp_path / "preempted").exists()
    context.acknowledge_preemption_signal()
    assert (tmp_path / "preempted").exists()
    context.close()


def test_the_acknowledgement_of_an_earlier_run_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "preempted").touch()
    context = started(tmp_path)
    assert not (tmp_path / "preempted").exists()
    (tmp_path / "stop").touch()
    assert context.should_preempt()  # acknowledges by itself, as Determined's does
    assert (tmp_path / "preempted").exists()
    context.close()


def test_sigterm_asks_and_the_handler_before_it_comes_back(tmp_path: Path) -> None:
    heard: list[int] = []
    original = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        context = started(tmp_path)
        os.kill(os.getpid(), signal.SIGTERM)
        assert context.should_preempt(auto_ack=False)
        assert heard == []
        context.close()
        context.close()
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, original)


def test_the_default_handler_comes_back(tmp_path: Path) -> None:
    original = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        started(tmp_path).close()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, original)


def test_it_works_beside_the_main_thread(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    answers: list[bool] = []

    def work() -> None:
        context = started(tmp_path)  # only the main thread may set handlers
        answers.append(context.should_preempt())
        context.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [True]


def test_asking_before_start_is_an_error(tmp_path: Path) -> None:
    context = StopFilePreemptContext(core.DummyDistributedContext(), tmp_path)
    with pytest.raises(RuntimeError, match="before start"):
        context.should_preempt()
