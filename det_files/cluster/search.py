"""What the experiment's searcher wants of this trial: all that depends on Determined's version.

0.38 decides from the validation metrics alone. It marks a trial that it stops, and tells nobody
(no preemption signal is sent in 0.38.0 and 0.38.1), so the chief looks after each validation.
Up to 0.37 the master hands out operations instead: train up to a length, validate, report; when
there are none the trial leaves, and is started again if it gets another one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import determined
from determined import core

from det_files.cluster.decisions import DecisionRecord
from det_files.cluster.master import NoAnswer, TrialRecord, is_trial
from det_files.cluster.metrics import JsonlTrainContext
from det_files.rungs import HALVING, decision_points, time_metric

logger = logging.getLogger(__name__)

OPERATIONS = tuple(int(part) for part in determined.__version__.split(".")[:2]) < (0, 38)
_STOPS_TRIALS = (*HALVING, "custom")
Record = TrialRecord | DecisionRecord


class Decision(Enum):
    """What becomes of the trial after a validation."""

    GO_ON = "go on"
    END = "the searcher has stopped this trial"
    WAIT = "the searcher has no work for this trial now"


@dataclass(frozen=True)
class Position:
    """Where training stands: `batches` are optimizer steps, `records` rows of all ranks so far."""

    batches: int
    epochs: float
    records: int
    fraction: float  # of the whole training, 0 to 1

    @property
    def finished(self) -> bool:
        return self.fraction >= 1.0


class Search:
    """No searcher interferes: single, random and grid from 0.38 on, and without a runner."""

    saves_when_due = False  # whether a validation that is due wants a checkpoint beside it

    def __init__(self, context: core.Context) -> None:
        self._context = context

    def validation_due(self, position: Position) -> bool:
        """True where the searcher waits for a validation; all ranks get the same answer."""
        return False

    def validated(self, position: Position, row: Mapping[str, float] | None) -> Decision:
        """What follows from a validation that was reported; all ranks call this in step.

        `row` is what the chief reported, None on the other ranks.
        """
        return Decision.GO_ON

    def report_progress(self, position: Position) -> None:
        """Tells the master how far training has come; only the chief calls this."""
        self._context.train.report_progress(min(max(position.fraction, 0.0), 1.0))


class StoppingSearch(Search):
    """0.38's searchers that stop trials, and the local runner's: the chief asks, all follow.

    A trial is validated at every rung, whatever `eval_steps` says: between two of them a decision
    would come late, or not at all.
    """

    def __init__(
        self, context: core.Context, record: Record | None, searcher: Mapping[str, Any]
    ) -> None:
        super().__init__(context)
        self._record = record
        self._points = decision_points(searcher)
        self._in_epochs = bool(self._points) and time_metric(searcher) == "epochs"
        self._seen = -1.0

    def validation_due(self, position: Position) -> bool:
        """True at the first step at or beyond a rung."""
        if self._in_epochs:
            now, step = position.epochs, position.epochs / max(position.batches, 1)
        else:
            now, step = float(position.batches), 1.0
        # A resumed trial has seen nothing, and stands where its last step has brought it.
        before, self._seen = max(now - step, self._seen), now
        return any(before < point <= now for point in self._points)

    def validated(self, position: Position, row: Mapping[str, float] | None) -> Decision:
        stopping = self._ask(position.batches) if self._record is not None else None
        stopping = bool(self._context.distributed.broadcast(stopping))
        return Decision.END if stopping else Decision.GO_ON

    def _ask(self, step: int) -> bool:
        assert self._record is not None
        try:
            return self._record.state_after_validation(step).stopping
        except NoAnswer as error:
            logger.warning("the trial's state could not be looked up: %s", error)
            return False


class OperationSearch(Search):
    """Up to 0.37: `core_context.searcher` hands out one operation after the other."""

    saves_when_due = True  # the trial may have to leave there and be started again

    def __init__(self, context: core.Context, metric: str | None) -> None:
        super().__init__(context)
        self._metric = metric
        self._units = context.searcher.get_configured_units()
        # acknowledged by the callback, once a checkpoint is safe
        self._operations = context.searcher.operations(auto_ack=False)
        self.operation = self._last = next(self._operations, None)

    def _reached(self, position: Position) -> float:
        unit = self._units.value.lower() if self._units is not None else "batches"
        return float(getattr(position, unit))

    def validation_due(self, position: Position) -> bool:
        if self.operation is None:
            return False
        return position.finished or self._reached(position) >= self.operation.length

    def validated(self, position: Position, row: Mapping[str, float] | None) -> Decision:
        decision = Decision.GO_ON
        while self.validation_due(position):
            if not self._complete(row):
                break
            self.operation = next(self._operations, None)
            self._last = self.operation or self._last
            if self.operation is None:
                decision = Decision.WAIT
            elif position.finished:
                break  # there is nothing left to train for a longer one
        return decision

    def _complete(self, row: Mapping[str, float] | None) -> bool:
        """Reports the operation's metric; False, on all ranks, where the row lacks it."""
        assert self.operation is not None
        known = self._metric in row if row is not None else None
        if not self._context.distributed.broadcast(known):
            logger.warning("no %s in this validation: the searcher hears nothing", self._metric)
            return False
        if row is not None:
            self.operation.report_completed(row[self._metric or ""])
        return True

    def report_progress(self, position: Position) -> None:
        if self.operation is not None:
            self.operation.report_progress(self._reached(position))
        elif self._last is not None:  # completed: the client takes no other length any more
            self._last.report_progress(self._last.length)


def make_search(
    context: core.Context, searcher: Mapping[str, Any], record: TrialRecord | None
) -> Search:
    """The searcher's side of this trial; all ranks call this in step."""
    if not is_trial(context):
        train = context.train
        if not (isinstance(train, JsonlTrainContext) and train.decisions.exists):
            return Search(context)
        is_chief = context.distributed.rank == 0
        return StoppingSearch(context, train.decisions if is_chief else None, searcher)
    if OPERATIONS:
        return OperationSearch(context, searcher.get("metric"))
    stops = searcher.get("name") in _STOPS_TRIALS
    return StoppingSearch(context, record, searcher) if stops else Search(context)


def first_operation(context: core.Context) -> Any:
    """The searcher's operation that is to be worked on, up to 0.37; None off-cluster and later.

    All ranks call this in step.
    """
    if not OPERATIONS or context.info is None:
        return None
    return next(context.searcher.operations(auto_ack=False), None)


def searcher_of(context: core.Context) -> dict[str, Any]:
    """The searcher section of the cluster's experiment; empty off-cluster."""
    return dict(context.info.trial._config.get("searcher") or {}) if is_trial(context) else {}
