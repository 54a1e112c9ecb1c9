"""Trials and their allocations, with the states and exits of the master's `trial.go`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from cluster.standin.container import Container

STOPPING = {
    "STOPPING_COMPLETED": "COMPLETED",
    "STOPPING_CANCELED": "CANCELED",
    "STOPPING_KILLED": "CANCELED",
    "STOPPING_ERROR": "ERROR",
}
ENDED = set(STOPPING.values())


@dataclass
class Allocation:
    """One start of a trial's containers."""

    identity: str
    run: int
    token: str
    containers: list[Container]
    ready: bool = False
    preempted: bool = False
    told: bool = False  # the trial has been answered that it is preempted
    acknowledged: bool = False
    daemons: set[str] = field(default_factory=set)
    watching: set[int] = field(default_factory=set)
    code: int | None = None
    killed: bool = False
    ended: bool = False

    def kill(self) -> None:
        self.killed = True
        for container in self.containers:
            container.kill()


@dataclass
class Trial:
    """A trial as the master keeps it. Steps are batches."""

    id: int
    number: int  # the searcher's
    task: str
    hparams: dict[str, Any]
    seed: int
    state: str = "ACTIVE"
    runs: int = 0
    restarts: int = 0
    allocation: Allocation | None = None
    warm_start: str | None = None
    no_retries: bool = False
    early_exit: str | None = None
    operation: int | None = None  # 0.37: validate after so many units
    operation_completed: bool = False
    closed: bool = False
    metrics: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    run_of_metrics: dict[tuple[str, int], int] = field(default_factory=dict)
    latest_validation: int | None = None
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)  # exit codes, one a run
    log: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def wants_work(self) -> bool:
        """Whether it should be given containers, if there are slots."""
        waiting = self.operation_completed and not self.closed
        return self.state == "ACTIVE" and self.allocation is None and not waiting

    @property
    def latest_checkpoint(self) -> dict[str, Any] | None:
        """The one of most steps, then the latest: the master's `LatestCheckpointForTrial`."""
        steps = [c["metadata"].get("steps_completed", 0) for c in self.checkpoints]
        newest = max(range(len(steps)), key=lambda i: (steps[i], i), default=None)
        return None if newest is None else self.checkpoints[newest]

    def rows(self, group: str, name: str) -> dict[int, float]:
        """A metric by step."""
        found = {step: row for (of, step), row in self.metrics.items() if of == group}
        return {step: row[name] for step, row in sorted(found.items()) if name in row}

    def to_json(self, experiment: int) -> dict[str, Any]:
        """As `trialv1Trial`."""
        state = "RUNNING" if self.allocation and self.state == "ACTIVE" else self.state
        latest = None
        if self.latest_validation is not None:
            row = self.metrics[("validation", self.latest_validation)]
            latest = {
                "totalBatches": self.latest_validation,
                "metrics": {"avgMetrics": row},
                "numInputs": 0,
            }
        return {
            "id": self.id,
            "experimentId": experiment,
            "hparams": self.hparams,
            "restarts": self.restarts,
            "startTime": "2026-01-01T00:00:00Z",
            "state": f"STATE_{state}",
            "totalBatchesProcessed": max((step for _, step in self.metrics), default=0),
            "latestValidation": latest,
            "taskId": self.task,
        }


def next_state(trial: Trial, allocation: Allocation, max_restarts: int) -> str:
    """The state of a trial after its allocation has ended, by `handleAllocationExit`."""
    failed = bool(allocation.code) and not allocation.killed and not allocation.acknowledged
    if trial.state in STOPPING:
        return "ERROR" if failed else STOPPING[trial.state]
    if trial.closed and trial.operation_completed:
        return "ERROR" if failed else "COMPLETED"
    if allocation.acknowledged or allocation.killed:
        return trial.state
    if failed:
        trial.restarts += 1
        return "ERROR" if trial.no_retries or trial.restarts > max_restarts else trial.state
    return "COMPLETED"
