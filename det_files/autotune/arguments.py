"""The command line of autotuning."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.autotune.metrics import FEWEST_STEPS, MEASURED, THROUGHPUT, MeasuringArguments
from det_files.autotune.space import OFFLOADS
from det_files.faults import ConfigError, Faults, did_you_mean
from det_files.memory.table import parse_bytes

STEPS = 20
_SWITCH = {"off": False, "on": True}


@dataclass(frozen=True)
class AutotuneArguments:
    """What the command line asked for; None is what the machine or the experiment decides.

    Attributes:
        experiment: The experiment file; None only with `resume`.
        slots: Ranks of a trial.
        overrides: `dotted.path=value` texts.
        runs_dir: Where the run is made.
        resume: The run directory to continue.
        metric: throughput or peak_memory.
        stages, offloads, micro_batches, checkpointing, buckets: values of the dimensions; a bucket
            is a number of elements, None for the file's own.
        max_trials: At most so many; None for half of the grid, or all of it with `grid`.
        steps, warmup_steps: Optimizer steps that are measured, and those before them.
        gpu_memory: Bytes of one device, on a CPU of one rank.
        keep_global_batch: Whether micro-batch x accumulation x slots stays what it is.
        grid: Whether everything is tried.
    """

    experiment: Path | None
    slots: int | None = None
    overrides: tuple[str, ...] = ()
    runs_dir: Path = Path("runs")
    resume: Path | None = None
    metric: str = THROUGHPUT
    stages: tuple[int, ...] = (1, 2, 3)
    offloads: tuple[str, ...] | None = None
    micro_batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    checkpointing: tuple[bool, ...] = (False, True)
    buckets: tuple[int | None, ...] = (None,)
    max_trials: int | None = None
    steps: int = STEPS
    warmup_steps: int = MeasuringArguments.warmup_steps
    gpu_memory: int | None = None
    keep_global_batch: bool = False
    grid: bool = False


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser; its help text is the reference for users."""
    parser = argparse.ArgumentParser(
        prog="python -m det_files.autotune",
        description="Measure which DeepSpeed configuration and micro-batch train an experiment "
        "fastest on this machine: ZeRO stage, offload, bucket sizes, activation checkpointing.",
        epilog="Lists are comma-separated. Running out of memory is a result. Ctrl-C once: stop, "
        "resumable. Exit codes: 0 done or stopped, 2 configuration, 1 anything else. The last "
        "line on stdout is the run directory, with best_experiment.yaml and best_deepspeed.json.",
    )
    add = parser.add_argument
    add("experiment", nargs="?", type=Path, metavar="EXPERIMENT.yaml")
    add("--slots", type=int, metavar="N", help="ranks (default: resources.slots_per_trial)")
    add("--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE")
    add("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: ./runs")
    add("--resume", type=Path, metavar="RUN_DIR", help="continue this run, as it was asked for")
    add("--metric", default=THROUGHPUT, help="throughput (default) or peak_memory")
    add("--stages", default="1,2,3", help="ZeRO stages (default: 1,2,3)")
    add(
        "--offload",
        help="none; cpu: optimizer states; cpu+params: parameters too, stage 3 alone "
        "(default: all three on GPUs, none on a CPU)",
    )
    add("--micro-batches", default="1,2,4,8,16,32", help="rows a rank (default: 1,2,4,8,16,32)")
    add("--checkpointing", default="off,on", help="of activations (default: off,on)")
    add("--buckets", default="file", help="elements, or file: as it has them (default: file)")
    add("--max-trials", type=int, metavar="N", help="default: half of the grid")
    add("--steps", type=int, default=STEPS, help=f"measured optimizer steps (default: {STEPS})")
    add(
        "--warmup-steps",
        type=int,
        default=MeasuringArguments.warmup_steps,
        help="steps before them (default: %(default)s)",
    )
    add(
        "--gpu-memory",
        metavar="SIZE",
        help="of one GPU, or on a CPU of one rank, such as 80GiB (default: what there is)",
    )
    add(
        "--keep-global-batch",
        action="store_true",
        help="micro-batch x accumulation x slots stays; default: the accumulation stays",
    )
    add("--grid", action="store_true", help="measure every configuration, for comparison")
    return parser


def parse_arguments(argv: Sequence[str] | None, faults: Faults) -> AutotuneArguments:
    """Returns the command line, typed; what is wrong with values is noted.

    Raises:
        SystemExit: With code 2, where an option is unknown or an experiment is not named.
    """
    parser = build_parser()
    given = parser.parse_intermixed_args(argv)
    if given.experiment is None and given.resume is None:
        parser.error("EXPERIMENT.yaml is needed (or --resume RUN_DIR)")
    options: dict[str, Any] = {
        name: getattr(given, name)
        for name in ("experiment", "slots", "runs_dir", "resume", "metric", "max_trials")
    }
    options |= {"steps": given.steps, "warmup_steps": given.warmup_steps}
    options |= {"keep_global_batch": given.keep_global_batch, "grid": given.grid}
    options["overrides"] = tuple(given.overrides)
    if given.metric not in MEASURED:
        hint = did_you_mean(given.metric, MEASURED)
        faults.add("--metric", f"expected {' or '.join(MEASURED)}, got {given.metric}{hint}")
    for flag, number, least in (
        ("--slots", given.slots, 1),
        ("--max-trials", given.max_trials, 1),
        ("--steps", given.steps, FEWEST_STEPS),
        ("--warmup-steps", given.warmup_steps, 0),
    ):
        if number is not None and number < least:
            faults.add(flag, f"expected at least {least}, got {number}")
    if given.gpu_memory is not None:
        try:
            options["gpu_memory"] = parse_bytes(given.gpu_memory, "--gpu-memory")
        except ConfigError as error:
            faults.extend(error)
    return AutotuneArguments(**options, **_dimensions(given, faults))


def _dimensions(given: argparse.Namespace, faults: Faults) -> dict[str, Any]:
    stages = {str(stage): stage for stage in range(4)}
    offloads = {name: name for name in OFFLOADS}
    found = {
        "stages": _list("--stages", given.stages, _one_of(stages), faults),
        "micro_batches": _list("--micro-batches", given.micro_batches, _whole, faults),
        "checkpointing": _list("--checkpointing", given.checkpointing, _one_of(_SWITCH), faults),
        "buckets": _list("--buckets", given.buckets, _bucket, faults),
    }
    if given.offload is not None:
        found["offloads"] = _list("--offload", given.offload, _one_of(offloads), faults)
    return found


def _list(flag: str, text: str, read: Callable[[str], Any], faults: Faults) -> tuple[Any, ...]:
    """The list's values, each once, in the order given."""
    values = []
    for word in text.split(","):
        try:
            values.append(read(word.strip()))
        except ValueError as error:
            faults.add(flag, f"{error}, got {word.strip()!r}")
    return tuple(dict.fromkeys(values))


def _one_of(choices: Mapping[str, Any]) -> Callable[[str], Any]:
    def read(word: str) -> Any:
        if word not in choices:
            raise ValueError(f"expected some of {', '.join(choices)}")
        return choices[word]

    return read


def _whole(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise ValueError("expected whole numbers >= 1")
    return int(word)


def _bucket(word: str) -> int | None:
    if word == "file":
        return None
    try:
        number = float(word)
    except ValueError:
        number = 0.0
    if not 1 <= number < 2**63 or number != int(number):
        raise ValueError('expected "file" or whole numbers >= 1, such as 5e8')
    return int(number)
