"""Pacing: a real `train()` that pauses between optimizer steps until it is told to go on.

Told by lines on stdin, `step N` or `stop`; answers are lines of JSON. The time of a step is all
that passes from when it may begin until the next could: forward, backward, optimizer, callbacks,
and the reading of the next batch. It is the same for every contender.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from transformers import Trainer, TrainerCallback

from benchmarks import machine
from benchmarks.contenders.rows import IGNORED
from benchmarks.contenders.work import Contender, Work


class Reports:
    """Answers to the parent: one line of JSON each, on a descriptor that nothing else writes to."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, event: str, **values: Any) -> None:
        self._stream.write(json.dumps({"event": event, **values}) + "\n")
        self._stream.flush()


class Commands:
    """The parent's lines on stdin; blocked in `read`, a waiting process costs no time."""

    def __init__(self) -> None:
        self._steps = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the next step waits for a command."""
        return self._steps == 0

    def next_step(self) -> None:
        """Returns when a step may begin.

        Raises:
            SystemExit: there is to be none.
        """
        while self._steps == 0:
            words = sys.stdin.readline().split()
            if words[:1] != ["step"]:  # stop, or the parent has gone
                raise SystemExit(0)
            self._steps = int(words[1])
        self._steps -= 1


@dataclass(frozen=True)
class Assignment:
    """What a process is to do, and who tells it when.

    Attributes:
        place: a directory of its own.
        commands: when a step may begin.
        reports: where what was measured goes.
        began: when the process was started, time.time().
    """

    work: Work
    contender: Contender
    place: Path
    commands: Commands
    reports: Reports
    began: float


class Pacer(TrainerCallback):
    """Holds the Trainer before each step, counts what it trains on, and reports."""

    def __init__(self, given: Assignment, facts: dict[str, Any], aside_s: float = 0.0) -> None:
        """Reports what it measures of `given`.

        Args:
            given: whose commands decide.
            facts: what goes with `ready`.
            aside_s: seconds that went to the benchmark itself, on the way to the first step.
        """
        self._commands, self._reports, self._began = given.commands, given.reports, given.began
        self._facts = facts
        self._clock = _compile_clock() if given.contender.compiled != "none" else None
        self._aside_s = aside_s
        self._resumed: float | None = None
        self._cpu = 0.0
        self._counts: list[dict[str, Any]] = []
        self._steps = 0

    def attach(self, trainer: Trainer) -> None:
        """Counts the micro-batches of a trainer, and paces it."""
        trainer.add_callback(self)
        training_step = trainer.training_step

        def counted(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            count = count_tokens(inputs)
            count["loss"] = training_step(model, inputs, *args, **kwargs)
            self._counts.append(count)
            return count["loss"]

        trainer.training_step = counted  # type: ignore[method-assign]

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        now, cpu = time.perf_counter(), machine.cpu_seconds()
        if self._resumed is None:
            self._reports.send("ready", **self._facts)
        else:
            self._report_step(now - self._resumed, cpu - self._cpu, args.device)
        if self._commands.is_waiting and args.device.type == "cpu":
            _give_back_memory()
        self._commands.next_step()
        self._resumed, self._cpu = time.perf_counter(), machine.cpu_seconds()
        self._aside_s += self._resumed - now

    def _report_step(self, seconds: float, cpu_seconds: float, device: torch.device) -> None:
        counts, self._counts = self._counts, []
        self._steps += 1
        report: dict[str, Any] = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "tokens": sum(int(count["tokens"]) for count in counts),
            "supervised": sum(int(count["supervised"]) for count in counts),
            "loss": sum(float(count["loss"]) for count in counts),
            "peak_bytes": peak_bytes(device),
            "compile_seconds": 0.0 if self._clock is None else self._clock.seconds,
        }
        if self._steps == 1:
            report["first_step_s"] = time.time() - self._began - self._aside_s
        self._reports.send("step", **report)


def _give_back_memory() -> None:
    """Returns freed memory to the system (glibc): who waits leaves it to those who train."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _compile_clock() -> Any:
    from det_files.compilation import CompileClock

    return CompileClock(nullcontext)


def count_tokens(inputs: dict[str, Any]) -> dict[str, Any]:
    """Non-padding tokens and supervised positions of a micro-batch, whoever collated it."""
    labels = inputs["labels"]
    if "attention_mask" in inputs:
        tokens: Any = inputs["attention_mask"].sum()
    elif "items" in inputs:  # ours: the filling at the end belongs to no item
        rows = len(inputs["items"])
        tokens = inputs["cu_seq_lens_q"].diff()[:rows].sum()
    else:
        tokens = labels.numel()
    return {"tokens": tokens, "supervised": (labels[:, 1:] != IGNORED).sum()}


def peak_bytes(device: torch.device) -> int:
    """Peak of allocated device memory; on the CPU, of this process's resident memory (VmHWM)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM: this needs Linux")


def private_stream(descriptor: int) -> TextIO:
    """A stream on `descriptor`; what libraries print to stdout goes to stderr from now on."""
    sys.stdout.flush()
    os.dup2(2, 1)
    return os.fdopen(descriptor, "w", encoding="utf-8")
