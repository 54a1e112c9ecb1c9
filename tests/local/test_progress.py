"""The arithmetic of the progress line, and what reaches the terminal."""

import io
import json
import time
from pathlib import Path

import pytest
from torch.utils.file_baton import FileBaton

from det_files.local.metrics import Row
from det_files.local.progress import (
    DISTINCT_WARNINGS,
    Progress,
    TrialMonitor,
    duration,
    eta_seconds,
    new_warnings,
    validation_line,
)
from det_files.local.terminal import Terminal


def test_eta_is_the_rest_at_the_speed_so_far() -> None:
    # 10 % in 20 s, 70 % to go.
    assert eta_seconds([(100.0, 0.2), (110.0, 0.25), (120.0, 0.3)], 120.0) == pytest.approx(140.0)


def test_eta_falls_while_a_step_lasts_and_not_below_zero() -> None:
    samples = [(100.0, 0.2), (120.0, 0.3)]
    assert eta_seconds(samples, 150.0) == pytest.approx(110.0)
    assert eta_seconds(samples, 1000.0) == 0.0


@pytest.mark.parametrize(
    "samples", [[], [(1.0, 0.5)], [(1.0, 0.5), (2.0, 0.5)], [(1.0, 0.5), (1.0, 0.6)]]
)
def test_eta_is_unknown_without_an_advance(samples: list[tuple[float, float]]) -> None:
    assert eta_seconds(samples, 2.0) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.4, "42s"), (59.6, "1m00s"), (187, "3m07s"), (7500, "2h05m"), (97200, "1d03h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_line_shows_what_the_rows_carry() -> None:
    progress = Progress()
    progress.update(Row(100.0, "training", 1, {"loss": 2.5}))
    assert progress.line(1, 100.0) == "trial 1  step 1  loss 2.5000"
    for steps, when in ((2, 110.0), (4, 130.0)):
        metrics = {"loss": 2.25, "tokens_per_second": 1234.5, "max_steps": 10}
        progress.update(Row(when, "training", steps, metrics))
    line = "trial 1  step 4/10  loss 2.2500  1,234 tokens/s  ETA 1m00s"
    assert progress.line(1, 130.0) == line
    assert progress.line(1, 500.0) == line.removesuffix("  ETA 1m00s")  # overdue: an evaluation


def test_the_trials_own_fraction_wins() -> None:
    progress = Progress(max_steps=10)
    progress.update(Row(0.0, "training", 1, {"progress": 0.5}))
    assert progress.fraction == 0.5
    assert progress.max_steps == 10


def test_the_number_of_steps_follows_from_the_fraction_where_nobody_says_it() -> None:
    progress = Progress()
    progress.update(Row(0.0, "training", 3, {"progress": 0.3}))
    assert progress.line(1, 0.0) == "trial 1  step 3/10"


def test_a_validation_names_what_it_measured() -> None:
    row = Row(1.0, "validation", 8, {"eval_loss": 1.5, "eval_runtime": 3.0, "epochs": 1.0})
    assert validation_line(2, row) == "trial 2  step 8  validation:  eval_loss 1.5000"


def test_warnings_of_rank_0_are_shown_once() -> None:
    seen: set[str] = set()
    lines = [
        "[rank=0] [12:01:07] WARNING: slow at step 3",
        "[rank=1] [12:01:07] WARNING: slow at step 3",
        "[rank=0] [12:02:09] WARNING: slow at step 47",
        "[rank=0] x.py:3: UserWarning: odd",
        "[rank=0] x.py:4: FutureWarning: `a` is deprecated",
        "[rank=0] x.py:5: PendingDeprecationWarning: so is `b`",
        "[rank=0] no warning here, and no error",
        "[torchrun] E1122 ERROR",
    ]
    assert new_warnings(lines, seen) == [
        "[12:01:07] WARNING: slow at step 3",
        "x.py:3: UserWarning: odd",
    ]
    assert new_warnings(lines, seen) == []


class Trial:
    """A trial's directory, written to as a trial would."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.shown = io.StringIO()
        self.report("training", 1, loss=9.0)  # of an earlier attempt: not shown again

    def report(self, group: str, steps: int, **metrics: float) -> None:
        row = {"time": time.time(), "group": group, "steps_completed": steps, "metrics": metrics}
        with open(self.directory / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")

    def monitor(self) -> TrialMonitor:
        return TrialMonitor(Terminal(self.shown, io.StringIO()), 1, self.directory, 10)


def test_without_a_terminal_there_are_few_plain_lines(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    monitor = trial.monitor()
    monitor.poll()
    assert trial.shown.getvalue() == ""
    for steps in range(2, 7):
        trial.report("training", steps, loss=1.0)
        monitor.poll()
    assert trial.shown.getvalue() == "trial 1  step 2/10  loss 1.0000\n"
    trial.report("validation", 6, eval_loss=2.0)
    monitor.poll()
    trial.report("training", 7, loss=0.5)
    monitor.poll()
    monitor.finish()
    monitor.finish()
    lines = trial.shown.getvalue().splitlines()
    assert [line.split("  ETA")[0] for line in lines] == [
        "trial 1  step 2/10  loss 1.0000",
        "trial 1  step 6/10  loss 1.0000",
        "trial 1  step 6  validation:  eval_loss 2.0000",
        "trial 1  step 7/10  loss 0.5000",
    ]


def test_a_flood_of_warnings_is_cut(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    monitor = trial.monitor()
    words = [chr(ord("a") + n % 26) * (1 + n // 26) for n in range(60)]
    for part in (words[:30], words[30:]):
        with open(tmp_path / "log.txt", "a") as log:
            log.writelines(f"[rank=0] WARNING {word}\n" for word in part)
        monitor.poll()
    lines = trial.shown.getvalue().splitlines()
    assert len(lines) == DISTINCT_WARNINGS + 1
    assert lines[-1] == "trial 1  further warnings are in its log"


def test_a_quiet_monitor_gathers_and_shows_warnings_only(tmp_path: Path) -> None:
    trial, seen = Trial(tmp_path), set[str]()
    terminal = Terminal(trial.shown, io.StringIO())
    monitors = [TrialMonitor(terminal, n, tmp_path, 10, seen, quiet=True) for n in (1, 2)]
    trial.report("training", 4, loss=1.0)
    trial.report("validation", 4, eval_loss=2.0)
    (tmp_path / "log.txt").write_text("[rank=0] WARNING: slow\n")
    for monitor in monitors:
        monitor.poll()
        monitor.finish()
        assert monitor.progress.steps == 4
        assert [row.number("eval_loss") for row in monitor.progress.validations] == [2.0]
    assert trial.shown.getvalue() == "trial 1  WARNING: slow\n"  # trial 2's is no news


def test_a_build_is_told_once_while_a_trial_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("det_files.local.operator_builds.LOOK_EVERY_S", 0.0)
    trial, operators = Trial(tmp_path), tmp_path / "operators"
    (operators / "cpu_adam").mkdir(parents=True)
    baton = FileBaton(str(operators / "cpu_adam" / "lock"))
    monitor = trial.monitor()
    assert monitor.waits_for == "starting"
    monitor.began("1 slot", {"TORCH_EXTENSIONS_DIR": str(operators)})
    assert baton.try_acquire()
    for _ in range(3):
        monitor.poll()
    said = "trial 1: DeepSpeed's operator cpu_adam is being built, which takes some minutes, once"
    assert trial.shown.getvalue().splitlines()[1:] == [said]
    assert monitor.waits_for == "building cpu_adam"
    baton.release()
    monitor.poll()
    assert monitor.waits_for == "starting"
    trial.report("training", 2, loss=1.0)
    monitor.poll()
    assert monitor.waits_for == ""
