"""`python -m det_files.local` that starts running_out_of_memory in place of an entrypoint."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from det_files.experiment import Experiment, load_experiment
from det_files.local.__main__ import main


def load(path: Path, overrides: Sequence[str]) -> Experiment:
    experiment = load_experiment(path, overrides)
    entrypoint = dataclasses.replace(experiment.entrypoint, module="running_out_of_memory")
    return dataclasses.replace(experiment, entrypoint=entrypoint)


if __name__ == "__main__":
    sys.exit(main(load=load, check=lambda experiment, slots: None))
