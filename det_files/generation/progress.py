"""How far a generation is: one line that is rewritten on a terminal, a rare one elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from det_files.generation.answers import LENGTH, Answer
from det_files.local.progress import REDRAW_INTERVAL_S, duration, eta_seconds
from det_files.local.terminal import Terminal

PLAIN_INTERVAL_S = 60.0  # between two lines where none can be rewritten


class Progress:
    """Counts answers as they end, and says how fast they come and when the last will."""

    def __init__(self, terminal: Terminal, answers: int, rank: int = 0, ranks: int = 1) -> None:
        """`answers` are expected of this rank; the first of several speaks for itself alone."""
        self._terminal, self._expected = terminal, answers
        self._note = f"(rank {rank} of {ranks})" if ranks > 1 else ""
        self._is_shown = rank == 0
        self._interval = REDRAW_INTERVAL_S if terminal.interactive else PLAIN_INTERVAL_S
        self._started = self._shown = time.monotonic()
        self.answers = self.tokens = 0

    def add(self, answer: Answer) -> None:
        """Counts an answer; shows the line when it is time to."""
        self.answers += 1
        self.tokens += answer.num_generated_tokens
        now = time.monotonic()
        if self._is_shown and now - self._shown >= self._interval:
            self._shown = now
            self._terminal.progress(self.line(now))

    def finish(self) -> None:
        """Shows what has become of it, in a line that stays."""
        if self._is_shown:
            self._terminal.note(f"{self.line(time.monotonic())} in {duration(self.seconds)}")

    def line(self, now: float) -> str:
        """The line at `now` (seconds of the monotonic clock)."""
        seconds = max(now - self._started, 1e-9)
        samples = [(self._started, 0.0), (now, self.answers / max(self._expected, 1))]
        eta = eta_seconds(samples, now)
        parts = [
            f"{self.answers}/{self._expected} answers",
            f"{_rate(self.answers / seconds)}/s",
            f"{_rate(self.tokens / seconds)} tokens/s",
            *([f"ETA {duration(eta)}"] if eta else []),
            *([self._note] if self._note else []),
        ]
        return "  ".join(parts)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started


def _rate(value: float) -> str:
    """Whole numbers from 10 on, two digits below."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


@dataclass
class Totals:
    """What is told of a whole output at its end."""

    answers: int = 0
    tokens: int = 0
    cut_off: int = 0  # answers that had no end
    cut_prompts: int = 0

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> Totals:
        """Counts the lines of an output."""
        totals = cls()
        for record in records:
            totals.answers += 1
            totals.tokens += record["num_generated_tokens"]
            totals.cut_off += record["finish_reason"] == LENGTH
            totals.cut_prompts += record["prompt_cut"] > 0 and record.get("sequence", 0) == 0
        return totals

    def line(self, rows: int) -> str:
        """The closing line."""
        answers = f"{self.answers} answers to " * (self.answers != rows)
        return (
            f"{answers}{rows} rows, {self.tokens:,} tokens; {self.cut_off} answers cut off at "
            f"their longest; {self.cut_prompts} prompts cut"
        )
