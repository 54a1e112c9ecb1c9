"""What a killed run had logged and could not say any more: the next one reports it.

Metrics are sent behind training's back, so those of the last steps before a kill may be lost on the
way. A checkpoint's history has them, and the receiver tells how far it got.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from determined import core

from det_files.cluster.master import NoAnswer, TrialRecord
from det_files.cluster.metrics import TRAINING, VALIDATION, JsonlTrainContext, MetricReporter
from det_files.cluster.search import Decision, Position, Search

logger = logging.getLogger(__name__)


def catch_up(
    context: core.Context,
    record: TrialRecord | None,
    reporter: MetricReporter,
    search: Search,
    history: Sequence[Mapping[str, Any]],
    position: Position,
) -> Decision:
    """Reports rows of a resumed trial's own history that were not received.

    All ranks call this in step. Where the searcher still waits for the validation of the step that
    training resumed from, it is told; what it then wants of the trial is returned.
    """
    is_chief = context.distributed.rank == 0
    if is_chief:
        reporter.catch_up(history, known_steps(context.train, record))
    if not search.validation_due(position):
        return Decision.GO_ON
    row = reporter.last_validation(history, position.batches)
    return search.validated(position, row if is_chief else None)


def known_steps(train: core.TrainContext, record: TrialRecord | None) -> dict[str, int]:
    """Group of metrics → the last step of it that was received; {} where nobody can tell."""
    if isinstance(train, JsonlTrainContext):
        return train.last_steps()
    if record is None:
        return {}
    try:
        state = record.state()
    except NoAnswer as error:
        logger.warning("what the master has of this trial is not known: %s", error)
        return {}
    return {TRAINING: state.step, VALIDATION: state.validated_step}
