"""How far a trial is: the arithmetic, the one line that says it, and what else its files report."""

import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from det_files.local.metrics import TRAINING, Row, RowTail
from det_files.local.operator_builds import OperatorBuilds
from det_files.local.rank_logs import split_prefix
from det_files.local.terminal import Terminal

WINDOW_ROWS = 20  # rows that the speed is taken from: recent, yet over evaluations and saves
PLAIN_INTERVAL_S = 10.0  # between two progress lines where none can be rewritten
REDRAW_INTERVAL_S = 0.5
DISTINCT_WARNINGS = 20


@dataclass
class Progress:
    """Where training is, from its rows; `fraction` in 0..1, times in seconds since the epoch."""

    max_steps: int | None = None
    steps: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    fraction: float | None = None
    samples: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW_ROWS))
    validations: list[Row] = field(default_factory=list)

    def update(self, row: Row) -> None:
        """Takes in one training row."""
        self.steps = row.steps
        self.loss = row.number("loss") if "loss" in row.metrics else self.loss
        self.tokens_per_second = row.number("tokens_per_second") or self.tokens_per_second
        max_steps = row.number("max_steps")
        if max_steps:
            self.max_steps = int(max_steps)
        self.fraction = row.number("progress")
        if self.fraction is None and self.max_steps:
            self.fraction = min(1.0, row.steps / self.max_steps)
        elif self.fraction and not self.max_steps:
            self.max_steps = round(row.steps / self.fraction)
        if self.fraction is not None:
            self.samples.append((row.time, self.fraction))

    def line(self, trial: int, now: float) -> str:
        """Returns the progress line."""
        parts = [
            f"trial {trial}",
            f"step {self.steps}" + f"/{self.max_steps}" * bool(self.max_steps),
        ]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4f}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        eta = eta_seconds(list(self.samples), now)
        # An overdue step (an evaluation, a save) leaves nothing to say but "0s", which is untrue.
        if eta is not None and (eta > 0 or self.fraction == 1.0):
            parts.append(f"ETA {duration(eta)}")
        return "  ".join(parts)


def eta_seconds(samples: list[tuple[float, float]], now: float) -> float | None:
    """Returns the remaining seconds at `now` by the speed between the first and the last sample.

    The time before the first sample does not count: it holds loading and the slow first steps.

    Args:
        samples: (time in seconds, fraction done in 0..1), in order of time.
        now: Seconds on the same clock; what has passed since the last sample is subtracted.

    Returns:
        Seconds, not below 0; None with fewer than two samples or no advance between them.
    """
    if len(samples) < 2:
        return None
    (first_time, first), (last_time, last) = samples[0], samples[-1]
    if last <= first or last_time <= first_time:
        return None
    remaining = (1.0 - last) * (last_time - first_time) / (last - first)
    return max(0.0, remaining - max(0.0, now - last_time))


def duration(seconds: float) -> str:
    """Returns the time in its two largest units: "42s", "3m07s", "2h05m", "1d03h"."""
    whole = round(seconds)
    for size, unit, below, below_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02d}{below_unit}"
    return f"{whole}s"


def validation_line(trial: int, row: Row) -> str:
    """Returns the line that reports a validation."""
    named = [(name, row.number(name)) for name in row.metrics]
    shown = [f"{name} {value:.4f}" for name, value in named if value is not None and _tells(name)]
    return "  ".join([f"trial {trial}", f"step {row.steps}", "validation:", *shown[:4]])


def _tells(name: str) -> bool:
    return not re.search(r"epoch|progress|max_steps|runtime|per_second|batches|memory", name)


# Python's FutureWarning and DeprecationWarning speak to authors of code, not to those who run it.
_WARNING = re.compile(r"\b(?:WARNING|ERROR|CRITICAL)\b|\b(?!Future|\w*Deprecation)\w*Warning: ")


def new_warnings(lines: list[str], seen: set[str]) -> list[str]:
    """Returns the warnings and errors of rank 0 that are not in `seen`, and adds them to it.

    Two that differ in numbers only (times, process ids, steps) are the same.
    """
    found = []
    for line in lines:
        rank, text = split_prefix(line)
        key = re.sub(r"\d+", "0", text)
        if rank == 0 and _WARNING.search(text) and key not in seen:
            seen.add(key)
            found.append(text.strip())
    return found


class TrialMonitor:
    """Shows on the terminal what one attempt at a trial writes into its directory."""

    def __init__(
        self,
        terminal: Terminal,
        number: int,
        directory: Path,
        max_steps: int | None,
        warnings: set[str] | None = None,
        quiet: bool = False,
    ):
        """Starts at the present end of the trial's files.

        Args:
            terminal: Where to show it.
            number: The trial's.
            directory: The trial's.
            max_steps: The number of steps, where it is known beforehand.
            warnings: Those already shown, to which the trial's are added; the trials of a search
                share them, for they mostly warn of the same.
            quiet: Show warnings only; a search's table shows `progress` for all its trials.
        """
        self.progress = Progress(max_steps)
        self._quiet = quiet
        self._terminal = terminal
        self._number = number
        self._log = directory / "log.txt"
        self._log_offset = self._log.stat().st_size if self._log.exists() else 0
        metrics = directory / "metrics.jsonl"
        self._rows = RowTail(metrics, metrics.stat().st_size if metrics.exists() else 0)
        self._warnings = set() if warnings is None else warnings
        self._builds: OperatorBuilds | None = None
        self._started = time.time()
        self._shown_at = 0.0
        self._unshown = False

    @property
    def waits_for(self) -> str:
        """What keeps the attempt from training: "building cpu_adam", "starting"; then empty."""
        if self.progress.steps:
            return ""
        building = ", ".join(self._builds.under_way) if self._builds else ""
        return f"building {building}" if building else "starting"

    def began(self, where: str, environment: Mapping[str, str]) -> None:
        """Says what the attempt runs on and where it begins; its processes' environment is told."""
        self._builds = OperatorBuilds(environment)
        if self._quiet:
            return
        log = self._terminal.path(self._log)
        self._terminal.note(f"trial {self._number}: {where}; log: {log}")

    def poll(self) -> None:
        """Shows what is new."""
        self._show_warnings()
        if self._builds and not self.progress.steps:
            for operator in self._builds.poll():
                self._terminal.note(
                    f"trial {self._number}: DeepSpeed's operator {operator} is being built, which "
                    "takes some minutes, once"
                )
        for row in self._rows.poll():
            if row.group == TRAINING:
                self.progress.update(row)
                self._unshown = True
                continue
            self.progress.validations.append(row)
            if not self._quiet:
                self.finish()  # the step that was evaluated comes first
                self._terminal.note(validation_line(self._number, row))
        if not self._quiet:
            self._show_progress()

    def finish(self) -> None:
        """Shows the last progress if that has not been shown yet."""
        if self._unshown and not self._quiet:
            self._shown_at = 0.0
            self._show_progress()

    def _show_progress(self) -> None:
        now = time.time()
        if self._terminal.interactive:
            if now - self._shown_at < REDRAW_INTERVAL_S:
                return
            line = self.progress.line(self._number, now)
            if self.waits_for:
                line = f"trial {self._number}  {self.waits_for}  {duration(now - self._started)}"
            self._terminal.progress(line)
        elif self._unshown and now - self._shown_at >= PLAIN_INTERVAL_S:
            self._terminal.progress(self.progress.line(self._number, now))
        else:
            return
        self._shown_at, self._unshown = now, False

    def _show_warnings(self) -> None:
        try:
            with open(self._log, "rb") as file:
                file.seek(self._log_offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._log_offset += len(whole)
        if len(self._warnings) >= DISTINCT_WARNINGS:
            return
        shown_before = len(self._warnings)
        found = new_warnings(whole.decode(errors="replace").splitlines(), self._warnings)
        for text in found[: DISTINCT_WARNINGS - shown_before]:
            self._terminal.note(f"trial {self._number}  {text}")
        if len(self._warnings) >= DISTINCT_WARNINGS:
            self._terminal.note(f"trial {self._number}  further warnings are in its log")
