"""Measuring: a trial's throughput and peak memory, reported as its one validation at the end.

    R = sum of T_i / sum of t_i        over the steps i after warm-up

T_i are the non-padding tokens of a step on all ranks and t_i its seconds, evaluation, saving and
compiling left out (throughput.py's clock). The spread is the standard error of that ratio, by
linearisation (Cochran, Sampling Techniques, 1977, section 6.4): steps differ in their tokens, so
the deviation of T_i / t_i would count what is no uncertainty.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from determined import core
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from det_files.autotune.metrics import PEAK_MEMORY, SPREAD, THROUGHPUT
from det_files.throughput import ThroughputMeter, peak_memory_bytes

logger = logging.getLogger(__name__)

Report = Callable[[TrainingArguments, TrainerState, TrainerControl, dict[str, float]], None]


class MeteredTrainer(Protocol):
    """A trainer that counts its tokens."""

    meter: ThroughputMeter


class Measuring(TrainerCallback):
    """Notes every step's time and tokens, and hands the result to `report` at the last one.

    All ranks have one. Waiting for the device at each step costs nothing more where every step is
    logged, which waits as well.
    """

    def __init__(
        self,
        trainer: MeteredTrainer,
        distributed: core.DistributedContext,
        warmup_steps: int,
        report: Report,
    ) -> None:
        self._trainer, self._distributed = trainer, distributed
        self._warmup, self._report = warmup_steps, report
        self._marks: list[tuple[float, torch.Tensor]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._marks = [self._trainer.meter.mark()]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
        self._marks.append(self._trainer.meter.mark())
        if state.global_step >= state.max_steps:
            self._report(args, state, control, self._measure(args.device))

    def _measure(self, device: torch.device) -> dict[str, float]:
        """What all ranks' steps come to; all ranks call this in step."""
        # A resumed trial may have few steps left: some are measured in any case.
        first = min(self._warmup, max(len(self._marks) - 3, 0))
        marks = [(seconds, float(tokens)) for seconds, tokens in self._marks[first:]]
        mine = {
            "seconds": [now - before for (before, _), (now, _) in pairwise(marks)],
            "tokens": [now - before for (_, before), (_, now) in pairwise(marks)],
            "peak": peak_memory_bytes(device),
        }
        ranks = self._distributed.allgather(mine)
        steps = zip(*(rank["seconds"] for rank in ranks), strict=True)
        seconds = [sum(step) / len(ranks) for step in steps]
        tokens = [sum(step) for step in zip(*(rank["tokens"] for rank in ranks), strict=True)]
        speed, spread = rate(tokens, seconds)
        found = {THROUGHPUT: speed, SPREAD: spread, PEAK_MEMORY: max(r["peak"] for r in ranks)}
        logger.info("measured over %d steps: %s", len(seconds), found)
        return {name: float(value) for name, value in found.items()}


def rate(amounts: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(total amount over total time, its standard error), both a second; 0 of one observation."""
    count, total = len(seconds), max(sum(seconds), 1e-9)
    ratio = sum(amounts) / total
    if count < 2:
        return ratio, 0.0
    pairs = zip(amounts, seconds, strict=True)
    residuals = sum((amount - ratio * time) ** 2 for amount, time in pairs)
    return ratio, math.sqrt(residuals / (count - 1) * count) / total


def reporting_through(callback: Any) -> Report:
    """Reports as a validation of DetCallback's, which tells master, searcher and metrics.jsonl."""

    def report(
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float],
    ) -> None:
        callback.on_evaluate(args, state, control, metrics=dict(metrics))

    return report
