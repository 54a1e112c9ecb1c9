"""The trial that this process runs on a cluster, or None: the only question of that kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClusterTrial:
    """What the cluster says of this trial."""

    hyperparameters: dict[str, Any]
    config: dict[str, Any]
    latest_checkpoint: str | None
    slots: int
    containers: int


def cluster_trial() -> ClusterTrial | None:
    """The trial of the Determined cluster that started this process; None off-cluster."""
    import determined

    info = determined.get_cluster_info()
    if info is None or info.task_type != "TRIAL":
        return None
    trial = info.trial
    return ClusterTrial(
        hyperparameters=dict(trial.hparams),
        config=dict(trial._config),
        latest_checkpoint=info.latest_checkpoint,
        slots=len(info.slot_ids),
        containers=len(info.container_addrs),
    )
