"""What only the master knows of a trial: whether it is being stopped, and its checkpoints.

Asked by the chief alone, of Determined's REST API, with the trial's own token and with few retries:
a question that goes unanswered is asked again after the next validation. Metrics are sent by a
thread of Determined's client and the master acts when they arrive, so its record lags behind us.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import urllib3
from determined import core
from determined.common.api import authentication, bindings, certs
from determined.common.api.errors import BadRequestException

from det_files.cluster.metrics import TRAINING, VALIDATION, JsonlTrainContext

logger = logging.getLogger(__name__)

_WAIT_S = 10.0
_FIRST_PAUSE_S = 0.02
# About four seconds: all ranks wait for the answer.
_RETRIES = urllib3.util.Retry(
    total=3, backoff_factor=0.5, allowed_methods=None, status_forcelist=[502, 503, 504]
)


@dataclass(frozen=True)
class TrialState:
    """A trial's state by the master's name (`STATE_RUNNING`, …), and how far its metrics came."""

    name: str
    step: int  # the last one with any metrics, -1 for none
    validated_step: int

    @property
    def stopping(self) -> bool:
        return self.name.startswith("STATE_STOPPING_")


class TrialRecord:
    """The master's record of the trial that this process is part of."""

    def __init__(self, info: Any) -> None:
        """`info` is `determined.get_cluster_info()`."""
        self._trial_id: int = info.trial.trial_id
        self._session = authentication.login_from_task(
            info.master_url, certs.default_load(info.master_url)
        ).with_retry(_RETRIES)

    def state(self) -> TrialState:
        """The trial's state now.

        Raises:
            determined.common.api.errors.BadRequestException: there was no answer, or a refusal.
        """
        trial = bindings.get_GetTrial(self._session, trialId=self._trial_id).trial
        latest = trial.latestValidation
        validated = latest.totalBatches if latest is not None else -1
        return TrialState(trial.state.value, trial.totalBatchesProcessed, validated)

    def state_after_validation(self, step: int) -> TrialState:
        """The state once the master has the validation of `step`, or after ten seconds.

        Raises:
            determined.common.api.errors.BadRequestException: as `state`.
        """
        end, pause = time.monotonic() + _WAIT_S, _FIRST_PAUSE_S
        while True:
            state = self.state()
            if state.stopping or state.validated_step >= step or time.monotonic() > end:
                return state
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def checkpoint_uuids(self) -> list[str]:
        """The trial's complete checkpoints, the newest (most steps, then latest) first.

        Raises:
            determined.common.api.errors.BadRequestException: as `state`.
        """
        found = bindings.get_GetTrialCheckpoints(
            self._session, id=self._trial_id, states=[bindings.checkpointv1State.COMPLETED]
        ).checkpoints
        found = sorted(found, key=lambda c: (c.metadata.get("steps_completed", -1), c.reportTime))
        return [checkpoint.uuid for checkpoint in reversed(found)]


def trial_record(context: core.Context) -> TrialRecord | None:
    """The record, on the chief of a cluster's trial; None on other ranks and off-cluster."""
    is_trial = context.info is not None and context.info._trial_info is not None
    return TrialRecord(context.info) if is_trial and context.distributed.rank == 0 else None


def known_steps(train: core.TrainContext, record: TrialRecord | None) -> dict[str, int]:
    """Group of metrics → the last step of it that has been received; {} where nobody can tell."""
    if isinstance(train, JsonlTrainContext):
        return train.last_steps()
    if record is None:
        return {}
    try:
        state = record.state()
    except BadRequestException as error:
        logger.warning("what the master has of this trial is not known: %s", error)
        return {}
    return {TRAINING: state.step, VALIDATION: state.validated_step}
