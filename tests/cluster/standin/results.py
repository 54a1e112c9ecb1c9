"""Routes of the stand-in master by which results are read: an experiment's checkpoints, metrics."""

from __future__ import annotations

import re
from typing import Any

from cluster.standin.master import EXPERIMENT, Master
from cluster.standin.routes import route


@route("GET", EXPERIMENT + "/checkpoints")
def experiment_checkpoints(
    master: Master, match: re.Match[str], query: dict[str, str], body: Any
) -> Any:
    """Those with a validation, by the searcher's metric, the best first, as the real one sorts."""
    experiment = master.experiment_of(match[1])
    searcher = experiment.config["searcher"]
    found = []
    for trial in experiment.trials:
        values = trial.rows("validation", searcher["metric"])
        for said in trial.checkpoints:
            value = values.get(int(said["metadata"]["steps_completed"]))
            if value is not None:
                found.append((value, said, trial))
    found.sort(key=lambda entry: entry[0], reverse=not searcher.get("smaller_is_better", True))
    count = int(query.get("limit", len(found)))
    answers = [
        {
            **{name: said[name] for name in ("uuid", "resources", "metadata", "state", "taskId")},
            "training": {
                "trialId": trial.id,
                "experimentId": experiment.id,
                "experimentConfig": experiment.config,
                "hparams": trial.hparams,
            },
        }
        for _, said, trial in found[:count]
    ]
    pages = {"total": len(found), "endIndex": len(answers)}
    return {"checkpoints": answers, "pagination": pages}


@route("GET", "/api/v1/trials/metrics/trial_metrics")
def trial_metrics(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    """One message of the stream, with all that there is of one trial and group."""
    _, trial = master.trial_of(query["trialIds"])
    key = "validation_metrics" if query["group"] == "validation" else "avg_metrics"
    rows = [
        {
            "trialId": trial.id,
            "trialRunId": 1,
            "totalBatches": step,
            "endTime": f"2026-01-01T00:00:{step:02}.000Z",
            "group": group,
            "id": step,
            "archived": False,
            "metrics": {key: values},
        }
        for (group, step), values in trial.metrics.items()
        if group == query["group"]
    ]
    return {"result": {"metrics": rows}}
