"""What only the master knows of a trial: whether it is being stopped, and its checkpoints.

Asked by the chief alone, of Determined's REST API, with the trial's own token, few retries and a
time limit, because all ranks wait for the answer. Metrics are sent by a thread of Determined's
client and the master acts when they arrive, so its record lags behind us.
"""

from __future__ import annotations

import time
from typing import Any

import requests
import urllib3
from determined import core
from determined.common.api import authentication, certs
from determined.common.api.errors import BadRequestException

from det_files.cluster.trial_state import TrialState

_WAIT_S = 10.0  # for a validation to arrive
_FIRST_PAUSE_S = 0.02
_TIMEOUT_S = 5  # of one request
_RETRIES = urllib3.util.Retry(
    total=3, backoff_factor=0.5, allowed_methods=None, status_forcelist=[502, 503]
)


class NoAnswer(Exception):
    """The master did not answer, refused, or said something that is not understood."""


class TrialRecord:
    """The master's record of the trial that this process is part of."""

    def __init__(self, info: Any) -> None:
        """`info` is `determined.get_cluster_info()`."""
        self._path = f"/api/v1/trials/{info.trial.trial_id}"
        self._session = authentication.login_from_task(
            info.master_url, certs.default_load(info.master_url)
        ).with_retry(_RETRIES)

    def _get(self, path: str, **params: Any) -> Any:
        try:
            return self._session.get(path, params=params, timeout=_TIMEOUT_S).json()
        except (BadRequestException, requests.RequestException, ValueError) as error:
            raise NoAnswer(f"GET {path}: {error}") from error

    def state(self) -> TrialState:
        """The trial's state now.

        Raises:
            NoAnswer: the master did not tell.
        """
        answer = self._get(self._path)
        try:
            trial = answer["trial"]
            latest = trial.get("latestValidation") or {"totalBatches": -1}
            steps = int(trial["totalBatchesProcessed"]), int(latest["totalBatches"])
            return TrialState(str(trial["state"]), *steps)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NoAnswer(f"GET {self._path}: unexpected answer, {error!r}") from error

    def state_after_validation(self, step: int) -> TrialState:
        """The state once the master has the validation of `step`, or after ten seconds.

        Raises:
            NoAnswer: the master did not tell.
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
            NoAnswer: the master did not tell.
        """
        answer = self._get(f"{self._path}/checkpoints", states="STATE_COMPLETED")
        try:
            found = [
                (c["metadata"].get("steps_completed", -1), c.get("reportTime") or "", c["uuid"])
                for c in answer["checkpoints"]
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise NoAnswer(f"GET {self._path}/checkpoints: unexpected, {error!r}") from error
        return [uuid for _, _, uuid in sorted(found, reverse=True)]


def is_trial(context: core.Context) -> bool:
    """True on a cluster, in a trial's container."""
    return context.info is not None and context.info._trial_info is not None


def trial_record(context: core.Context) -> TrialRecord | None:
    """The record, on the chief of a cluster's trial; None on other ranks and off-cluster."""
    is_chief = context.distributed.rank == 0
    return TrialRecord(context.info) if is_chief and is_trial(context) else None
