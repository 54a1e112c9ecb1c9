"""An experiment on a cluster: its best checkpoint, and its trial's metrics from the master."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.faults import ConfigError, Fault
from det_files.local.metrics import TRAINING, VALIDATION, Row, standing_rows
from det_files.trained.downloading import download


@dataclass(frozen=True)
class BestOfExperiment:
    """The checkpoint with the best searcher metric, downloaded, and the rows of its trial."""

    path: Path
    rows: list[Row]


def best_of_experiment(number: int) -> BestOfExperiment:
    """Returns an experiment's best checkpoint; the master is DET_MASTER's, as for `det`.

    Raises:
        ConfigError: determined is not installed, the master does not answer or knows none of that
            number, or the experiment has no whole checkpoint.
    """
    try:
        from determined.common.api.errors import BadRequestException, MasterNotFoundException
        from determined.experimental import client
    except ImportError as error:
        reason = "an experiment's id needs Determined's client: pip install determined"
        raise ConfigError(Fault(str(number), reason)) from error
    try:
        checkpoints = client.get_experiment(number).list_checkpoints(max_results=1)
        if not checkpoints:
            reason = "has no checkpoint with a finished validation"
            raise ConfigError(Fault(f"experiment {number}", reason))
        best = checkpoints[0]
        rows = trial_rows(client.get_trial(best.training.trial_id))
    except MasterNotFoundException as error:
        where = os.environ.get("DET_MASTER", "http://localhost:8080")
        reason = f"no master answers at {where}: set DET_MASTER, or name a local run's directory"
        raise ConfigError(Fault(f"experiment {number}", reason)) from error
    except BadRequestException as error:
        reason = f"cannot be had from Determined: {error.__cause__ or error}"
        raise ConfigError(Fault(f"experiment {number}", reason)) from error
    return BestOfExperiment(download(best.uuid), rows)


def trial_rows(trial: Any) -> list[Row]:
    """What a trial (of Determined's client) has reported, as rows of a local metrics.jsonl."""
    reported = [
        Row(found.end_time.timestamp(), group, found.steps_completed, dict(found.metrics))
        for group in (TRAINING, VALIDATION)
        for found in trial.iter_metrics(group)
    ]
    return standing_rows(sorted(reported, key=lambda row: (row.steps, row.time)))
