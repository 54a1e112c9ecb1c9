"""`python -m det_files.local` for the tests: runs tiny_trial instead of a training module.

The experiment file is read by the real `load_experiment`; its hyperparameters are not checked,
because tiny_trial has none.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from det_files.experiment import Experiment, load_experiment
from det_files.faults import ConfigError, Fault
from det_files.local.__main__ import main


def load(path: Path, overrides: Sequence[str]) -> Experiment:
    experiment = load_experiment(path, overrides)
    entrypoint = dataclasses.replace(experiment.entrypoint, module="tiny_trial")
    return dataclasses.replace(experiment, entrypoint=entrypoint)


def check(experiment: Experiment, slots: int) -> None:
    if "wrong" in experiment.hyperparameters:
        raise ConfigError(Fault("hyperparameters.wrong", f"unknown key, at {slots} slots"))
    experiment.warnings.extend(experiment.hyperparameters.get("warnings", []))


if __name__ == "__main__":
    # Not the tests' directory but the trial's: as `python -m` would have it.
    sys.path[0] = str(Path.cwd())
    sys.exit(main(load=load, check=check))
