"""Metrics: what is reported of a trainer's logs, once, finite; and metrics.jsonl off-cluster."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from determined import core

from det_files.cluster.decisions import DecisionRecord
from det_files.durable import write_atomically
from det_files.rungs import WORST, smaller_is_better
from det_files.trial_files import METADATA_FILE, METRICS_FILE, end_torn_line

logger = logging.getLogger(__name__)

TRAINING = "training"
VALIDATION = "validation"
# TrainOutput's summary at the end of train(); it describes the call, not the model.
_SUMMARY = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"}


class MetricReporter:
    """Sends a trainer's logs to the core context: each (group, step) once, numbers only, finite.

    Only the chief sends. The logs that are passed in are never changed.
    """

    def __init__(
        self,
        train: core.TrainContext,
        is_chief: bool,
        filter_metrics: Sequence[str] | None = None,
        searcher: Mapping[str, Any] | None = None,
    ) -> None:
        """`filter_metrics` are exact names; the searcher's metric and time metric always pass."""
        self._train = train
        self._is_chief = is_chief
        self._searcher = dict(searcher or {})
        always = {self._searcher.get("metric"), self._searcher.get("time_metric")}
        always |= {"batches", "epochs"}
        self._wanted = set(filter_metrics) | always if filter_metrics is not None else None
        self._reported: set[tuple[str, int]] = set()

    def training(self, logs: Mapping[str, Any], step: int, epoch: float) -> None:
        """Reports a row of training metrics; logs without a loss (the final summary) are none."""
        if "loss" in logs:
            self._report(TRAINING, logs, step, epoch)

    def validation(
        self, metrics: Mapping[str, Any], step: int, epoch: float
    ) -> dict[str, float] | None:
        """Reports a row of validation metrics and returns it; None on all ranks but the chief."""
        return self._report(VALIDATION, metrics, step, epoch)

    def catch_up(self, history: Sequence[Mapping[str, Any]], known: Mapping[str, int]) -> None:
        """Reports rows of a resumed run's history that are newer than what was received.

        They were still under way when the run before was killed. `known` is the last step of each
        group that was received, groups that it lacks are left alone; `history` is
        `TrainerState.log_history`.
        """
        validations: dict[int, dict[str, Any]] = {}
        for row in history:
            step, epoch = int(row["step"]), float(row.get("epoch") or 0.0)
            metrics = {name: value for name, value in row.items() if name != "step"}
            if "loss" in row:
                if step > known.get(TRAINING, step):
                    self.training(metrics, step, epoch)
            elif step > known.get(VALIDATION, step) and any(n.startswith("eval_") for n in row):
                # Several datasets have a row each.
                validations[step] = validations.get(step, {}) | metrics
        for step, metrics in validations.items():
            self.validation(metrics, step, float(metrics.get("epoch") or 0.0))

    def last_validation(self, history: Sequence[Mapping[str, Any]], step: int) -> dict[str, float]:
        """What a resumed run's history has of the validation at a step; {} where there is none."""
        row: dict[str, float] = {}
        for logs in history:
            if int(logs["step"]) == step and "loss" not in logs:
                row |= self._numbers(VALIDATION, {k: v for k, v in logs.items() if k != "step"})
        return row

    def _report(
        self, group: str, logs: Mapping[str, Any], step: int, epoch: float
    ) -> dict[str, float] | None:
        if (group, step) in self._reported or not self._is_chief:
            return None
        self._reported.add((group, step))
        row = self._numbers(group, logs) | {"batches": float(step), "epochs": float(epoch)}
        if group == TRAINING:
            self._train.report_training_metrics(steps_completed=step, metrics=row)
        else:
            self._train.report_validation_metrics(steps_completed=step, metrics=row)
        return row

    def _numbers(self, group: str, logs: Mapping[str, Any]) -> dict[str, float]:
        row: dict[str, float] = {}
        for name, value in logs.items():
            if name in _SUMMARY or name == "epoch" or not isinstance(value, Real):
                continue
            if self._wanted is not None and name not in self._wanted:
                continue
            if math.isfinite(value):
                row[name] = float(value)
            elif group == VALIDATION and name == self._searcher.get("metric"):
                # The master fails a whole search over a missing or NaN metric: send the worst.
                row[name] = WORST if smaller_is_better(self._searcher) else -WORST
                logger.warning("%s is %s: reported as the worst value, %g", name, value, row[name])
            else:
                logger.warning("%s %s is %s: not reported", group, name, value)
        return row


class JsonlTrainContext(core.DummyTrainContext):
    """A TrainContext off-cluster: metrics become lines of metrics.jsonl, flushed one by one.

    The trial's metadata, which the master keeps on a cluster, lie beside it in metadata.json.
    """

    def __init__(self, trial_dir: Path, is_chief: bool) -> None:
        super().__init__(tensorboard_path=trial_dir / "tensorboard")
        self.decisions = DecisionRecord(trial_dir)
        self._path = trial_dir / METRICS_FILE
        self._metadata = trial_dir / METADATA_FILE
        self._progress = 0.0
        if is_chief:
            end_torn_line(self._path)

    def report_training_metrics(
        self,
        steps_completed: int,
        metrics: dict[str, Any],
        batch_metrics: list[dict[str, Any]] | None = None,
    ) -> None:
        self._write(TRAINING, steps_completed, metrics | {"progress": self._progress})

    def report_validation_metrics(self, steps_completed: int, metrics: dict[str, Any]) -> None:
        self._write(VALIDATION, steps_completed, metrics)

    def report_metrics(self, group: str, steps_completed: int, metrics: dict[str, Any]) -> None:
        self._write(group, steps_completed, metrics)

    def report_progress(self, progress: float) -> None:
        self._progress = progress

    def get_metadata(self) -> dict[str, Any] | None:
        """The metadata last set, by any start of the trial; None where there is none."""
        if not self._metadata.is_file():
            return None
        return dict(json.loads(self._metadata.read_text(encoding="utf-8")))

    def set_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Replaces the metadata in one step; any rank may call this."""
        write_atomically(self._metadata, json.dumps(metadata, indent=2) + "\n")
        return metadata

    def last_steps(self) -> dict[str, int]:
        """Group → the last step in the file, -1 for none."""
        found = {TRAINING: -1, VALIDATION: -1}
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut off by a kill
                continue
            found[row["group"]] = max(found.get(row["group"], -1), int(row["steps_completed"]))
        return found

    def _write(self, group: str, steps_completed: int, metrics: Mapping[str, Any]) -> None:
        row = {
            "time": time.time(),
            "group": group,
            "steps_completed": steps_completed,
            "metrics": dict(metrics),
        }
        # Opened each time: a row is on disk when the call returns, whatever happens next.
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
