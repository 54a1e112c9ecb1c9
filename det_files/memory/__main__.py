"""What memory an experiment needs, from its model's configuration alone; no weights are read.

    python -m det_files.memory experiments/swallow_7b_ds2.yaml --gpu-memory 40GiB
    python -m det_files.memory experiments/swallow_70b_ds3.yaml --slots 8 --json

Rows are counted as long as the data arguments let them be. Exit codes: 0, also where it does not
fit; 2, a fault in the experiment, or a configuration that cannot be had.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from det_files.args import RunArgs
from det_files.faults import ConfigError, Faults, exit_on_config_error
from det_files.hyperparameters import values_of
from det_files.memory.fitting import fitting, show_fitting
from det_files.memory.light_imports import import_lightly
from det_files.memory.table import estimate_dict, parse_bytes, show_draw, show_estimate
from det_files.old_names import modernise
from det_files.validate import check_experiment, load_whole


def main(argv: Sequence[str] | None = None, lightly: bool = False) -> int:
    """Prints the estimate and returns 0; `lightly` is for a process of its own alone.

    Raises:
        ConfigError: with the faults of the command line and of the experiment.
    """
    options = _parser().parse_args(argv)
    args, memory, draw = _read(options)
    if lightly:
        import_lightly()
    from det_files.memory.estimate import estimate_run, read_shape

    shape = read_shape(args, options.device)
    estimate = estimate_run(shape, args)
    found = fitting(shape, args, memory) if memory else None
    if options.json:
        more = {"fitting": found, "draw": draw}
        print(json.dumps(estimate_dict(estimate, shape) | more, indent=1))
    else:
        print(show_estimate(estimate, shape))
        if draw:
            print(show_draw(draw))
        if found:
            print(show_fitting(found))
    return 0


def _read(options: argparse.Namespace) -> tuple[RunArgs, int | None, dict[str, Any]]:
    """The run's arguments, the bytes of one device where they are told, and what was drawn.

    Raises:
        ConfigError: with the faults of the command line and of the experiment.
    """
    faults, args, memory, draw = Faults(), None, None, {}
    try:
        memory = options.gpu_memory and parse_bytes(options.gpu_memory, "--gpu-memory")
    except ConfigError as error:
        faults.extend(error)
    try:
        experiment = load_whole(options.experiment, options.set)
        args = check_experiment(experiment, options.slots)
        searched = modernise(experiment.hyperparameters, [])
        draw = values_of(searched, args.hyperparameters)
    except ConfigError as error:
        faults.extend(error)
    faults.raise_if_any(str(options.experiment))
    assert args is not None
    return args, memory, draw


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m det_files.memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", type=Path, metavar="EXPERIMENT.yaml")
    parser.add_argument("--gpu-memory", metavar="SIZE", help="of one device, e.g. 80GiB")
    parser.add_argument("--slots", type=int, help="ranks; default: the experiment's")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--json", action="store_true", help="print JSON, bytes as numbers")
    return parser


if __name__ == "__main__":
    exit_on_config_error(lambda: main(lightly=True))
