"""What an autotuning is going to try, checked as a whole before anything is started."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from det_files.args import RunArgs
from det_files.autotune.arguments import AutotuneArguments
from det_files.autotune.cuts import Cut, cut, memory_of_machine
from det_files.autotune.space import OFFLOADS, Axes, Candidate
from det_files.autotune.strategy import Space
from det_files.autotune.trials import Length, measuring_experiment
from det_files.deepspeed_config import merge
from det_files.entrypoint import KINDS, flags_to_hyperparameters
from det_files.experiment import Experiment, read_experiment
from det_files.faults import ConfigError, Faults
from det_files.local.plan import check_all, go_where_it_was_started
from det_files.local.process_group import visible_gpus
from det_files.local.resources import Resources, available_cores
from det_files.local.run_directory import RunDirectory, write_atomically
from det_files.local.terminal import Terminal
from det_files.models import PREFERENCE
from det_files.old_names import modernise
from det_files.validate import check_experiment, load_whole

PLAN_FILE = "autotune.json"
# What a resumed run takes from its own plan.
_ASKED = ("metric", "steps", "warmup_steps", "keep_global_batch", "grid")


@dataclass
class AutotunePlan:
    """A checked autotuning; `run` is None while it has no directory yet.

    `asked` are the command line's words that matter for a trial, `size` the candidates of the space
    before anything was cut, `trials` the most that are made.
    """

    experiment: Experiment
    args: RunArgs
    resources: Resources
    asked: dict[str, Any]
    found: Cut
    size: int
    trials: int
    run: RunDirectory | None = None

    @property
    def metric(self) -> str:
        return str(self.asked["metric"])

    @property
    def space(self) -> Space:
        return Space(self.found.candidates, self.found.needed_bytes)

    def derive(self, candidate: Candidate) -> Experiment:
        """The candidate's measuring experiment."""
        return _derive(self.experiment, self.args, self.asked, candidate)

    def write(self, run: RunDirectory) -> None:
        """Writes experiment.yaml, as it was given, and autotune.json."""
        self.experiment.write(run.experiment_file)
        found = self.found
        plan = {
            "asked": self.asked,
            "slots": self.resources.slots,
            "size": self.size,
            "trials": self.trials,
            "notes": found.notes,
            "candidates": [
                c.to_mapping() | {"needed_bytes": found.needed_bytes.get(c)}
                for c in found.candidates
            ],
            "cut": [c.to_mapping() | {"reason": why} for c, why in found.reasons.items()],
        }
        write_atomically(run.path / PLAN_FILE, json.dumps(plan, indent=1) + "\n")


def plan_new(arguments: AutotuneArguments, faults: Faults, terminal: Terminal) -> AutotunePlan:
    """Returns the plan of a new run; nothing is written.

    Raises:
        ConfigError: With every fault of the command line and of the experiment.
    """
    assert arguments.experiment is not None
    try:
        experiment = read_experiment(arguments.experiment, arguments.overrides, faults)
        slots = experiment.slots if arguments.slots is None else arguments.slots
        resources = Resources(slots, visible_gpus(), available_cores())
        flag = "--slots" if arguments.slots is not None else None
        _check_tunable(experiment, faults)
        args = check_all(experiment, resources, flag, check_experiment)
        _check_resolved(args, arguments, faults)
    except ConfigError as error:
        faults.extend(error)
    faults.raise_if_any(str(arguments.experiment))
    terminal.note("checking and estimating every configuration …")
    asked = {name: getattr(arguments, name) for name in _ASKED}
    candidates = _candidates(arguments, args, resources)
    memory = memory_of_machine(slots, resources.gpus, arguments.gpu_memory)
    found = cut(
        candidates,
        lambda candidate: _derive(experiment, args, asked, candidate),
        check_experiment,
        slots,
        memory,
    )
    if not found.candidates:
        reasons = [f"{candidate}: {why}" for candidate, why in found.reasons.items()]
        raise ConfigError("nothing is left to measure:\n  " + "\n  ".join(reasons[:20]))
    size = len(found.candidates)
    usual = size if arguments.grid else min(size, max(2, size // 2))
    trials = arguments.max_trials or usual
    return AutotunePlan(experiment, args, resources, asked, found, len(candidates), trials)


def plan_resumed(run: RunDirectory, terminal: Terminal) -> AutotunePlan:
    """Returns the plan of a run whose lock is held; goes into the directory it was started in.

    Raises:
        ConfigError: With every fault of the run's experiment for this machine.
    """
    try:
        plan = json.loads((run.path / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{run.path} is no autotuning's run: {PLAN_FILE}: {error}") from None
    go_where_it_was_started(run.read_summary(), terminal)
    experiment = load_whole(run.experiment_file)
    resources = Resources(plan["slots"], visible_gpus(), available_cores())
    args = check_all(experiment, resources, None, check_experiment)
    found = Cut(notes=plan["notes"])
    for entry in plan["candidates"]:
        candidate = Candidate.of_mapping(entry)
        found.candidates.append(candidate)
        if entry["needed_bytes"] is not None:
            found.needed_bytes[candidate] = entry["needed_bytes"]
    found.reasons = {Candidate.of_mapping(entry): entry["reason"] for entry in plan["cut"]}
    return AutotunePlan(
        experiment, args, resources, plan["asked"], found, plan["size"], plan["trials"], run
    )


def _check_tunable(experiment: Experiment, faults: Faults) -> None:
    """Notes what cannot be tuned, whatever else is wrong with it."""
    # What is wrong with flags and names is noted where they are resolved.
    flags = flags_to_hyperparameters(experiment.entrypoint.flags, Faults(), [])
    given = merge(flags, modernise(experiment.hyperparameters, []))
    if given.get("deepspeed_config") is None:
        reason = "missing: it is what is tuned; ds_configs/ds_config_stage_2.json is a beginning"
        faults.add("hyperparameters.deepspeed_config", reason)
    if KINDS[experiment.module] == PREFERENCE:
        faults.add("entrypoint", "det_files.run_preference is not measured: its tokens vary")


def _check_resolved(args: RunArgs, arguments: AutotuneArguments, faults: Faults) -> None:
    """Notes what of the resolved arguments leaves nothing to tune."""
    if isinstance((args.deepspeed or {}).get("autotuning"), Mapping):
        reason = "is DeepSpeed's own autotuning; leave it out"
        faults.add("hyperparameters.deepspeed_config.autotuning", reason)
    rows = _rows_a_rank(args)
    if arguments.keep_global_batch and all(rows % size for size in arguments.micro_batches):
        reason = f"none divides {rows}, the rows of a rank in a step (--keep-global-batch)"
        faults.add("--micro-batches", reason)


def _rows_a_rank(args: RunArgs) -> int:
    training = args.training
    sizes = ("per_device_train_batch_size", "gradient_accumulation_steps")
    return int(training[sizes[0]]) * int(training[sizes[1]])


def _candidates(
    arguments: AutotuneArguments, args: RunArgs, resources: Resources
) -> list[Candidate]:
    offloads = arguments.offloads or (OFFLOADS if resources.gpus else OFFLOADS[:1])
    axes = Axes(
        arguments.stages,
        offloads,
        arguments.checkpointing,
        arguments.buckets,
        arguments.micro_batches,
    )
    accumulation = int(args.training["gradient_accumulation_steps"])
    kept = _rows_a_rank(args) if arguments.keep_global_batch else None
    return axes.candidates(accumulation, kept)


def _derive(
    experiment: Experiment, args: RunArgs, asked: Mapping[str, Any], candidate: Candidate
) -> Experiment:
    length = Length(asked["steps"], asked["warmup_steps"])
    derived = measuring_experiment(experiment, args, candidate, asked["metric"], length)
    return dataclasses.replace(derived, path=experiment.path)
