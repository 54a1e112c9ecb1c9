"""The run that a notebook shows: its best checkpoint and what its trial has reported.

A name is a run's directory, a checkpoint's directory or UUID, or the id of an experiment on a
cluster; a checkpoint that Determined has is downloaded once.
"""

from __future__ import annotations

from dataclasses import dataclass

from det_files.local.metrics import Row, read_rows
from det_files.local.run_directory import RunDirectory
from det_files.showing.experiment import best_of_experiment
from det_files.trained.checkpoint import TrainedCheckpoint, open_checkpoint
from det_files.trained.locating import find_best_checkpoint, locate


@dataclass(frozen=True)
class ShownRun:
    """A run's best trial.

    Attributes:
        name: how it was asked for.
        checkpoint: the best one of the best trial.
        rows: what that trial has reported, in order of steps; none where that is not known.
    """

    name: str
    checkpoint: TrainedCheckpoint
    rows: list[Row]

    @property
    def model_name(self) -> str:
        """The model that was fine-tuned, as the experiment names it."""
        return str(self.checkpoint.model.source)

    @property
    def steps(self) -> int | None:
        """Steps after which the checkpoint was saved."""
        steps = self.checkpoint.metadata.get("steps_completed")
        return int(steps) if isinstance(steps, int | float) else None


def find_run(name: str | int) -> ShownRun:
    """Returns the run of that name.

    Raises:
        ConfigError: nothing of that name is there, or there is no whole checkpoint.
    """
    name = str(name)
    if name.isdecimal():
        found = best_of_experiment(int(name))
        return ShownRun(f"experiment {name}", open_checkpoint(found.path), found.rows)
    path = locate(name).absolute()
    if not (path / "summary.json").is_file():
        trial = path.parent.parent  # trials/<k>/checkpoints/<uuid>
        return ShownRun(name, open_checkpoint(path), read_rows(trial / "metrics.jsonl"))
    run = RunDirectory(path)
    best = find_best_checkpoint(run)
    checkpoint = open_checkpoint(best.path)
    return ShownRun(name, checkpoint, read_rows(best.directory / "metrics.jsonl"))
