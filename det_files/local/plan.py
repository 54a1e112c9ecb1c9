"""What is going to be run, a new run or a resumed one, checked as a whole before it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from det_files.faults import ConfigError, Faults
from det_files.local.arguments import LocalArguments
from det_files.local.process_group import visible_gpus
from det_files.local.resources import Resources, available_cores, trials_at_once
from det_files.local.run_directory import RunDirectory
from det_files.local.summary import describe_searcher, without_secrets
from det_files.local.terminal import Terminal
from det_files.rungs import HALVING

if TYPE_CHECKING:
    from det_files.experiment import Experiment

PACKAGES = ("determined", "torch", "transformers", "deepspeed", "peft", "datasets", "accelerate")

Loader = Callable[[Path, Sequence[str]], "Experiment"]
Check = Callable[["Experiment", int], object]
Checked = TypeVar("Checked")


@dataclass
class Plan:
    """A checked run; `run` is None while a new run has no directory yet."""

    experiment: Experiment
    resources: Resources
    command: str
    run: RunDirectory | None = None


def plan_new(arguments: LocalArguments, load: Loader, check: Check, terminal: Terminal) -> Plan:
    """Returns the plan of a new run; nothing is written.

    Raises:
        ConfigError: With every fault of the experiment for this machine.
    """
    assert arguments.experiment is not None
    experiment = load(arguments.experiment, arguments.overrides)
    given = arguments.slots
    resources = resources_for(experiment, experiment.slots if given is None else given)
    check_all(experiment, resources, "--slots" if given is not None else None, check)
    for warning in dict.fromkeys(experiment.warnings):
        terminal.note(f"warning: {warning}")
    return Plan(experiment, resources, own_command(terminal))


def plan_resumed(
    arguments: LocalArguments,
    run: RunDirectory,
    load: Loader,
    check: Check,
    terminal: Terminal,
) -> Plan:
    """Returns the plan of a resumed run, whose lock is held; goes into the directory it ran in.

    Raises:
        ConfigError: With every fault of the run's experiment for this machine.
    """
    if arguments.overrides:
        terminal.note("warning: --set is ignored: a resumed run keeps its own experiment")
    summary = run.read_summary()
    go_where_it_was_started(summary, terminal)
    experiment = load(run.experiment_file, ())
    slots = (
        arguments.slots if arguments.slots is not None else summary.get("slots", experiment.slots)
    )
    resources = resources_for(experiment, slots)
    check_all(experiment, resources, "--slots", check)
    return Plan(experiment, resources, own_command(terminal), run)


def go_where_it_was_started(summary: Mapping[str, Any], terminal: Terminal) -> None:
    """Changes into a run's directory: relative paths in its experiment were meant from there."""
    directory = Path(summary.get("directory", "."))
    if directory.is_dir() and not directory.samefile(os.curdir):
        terminal.note(f"continuing in {directory}, where the run was started")
        os.chdir(directory)


def resources_for(experiment: Experiment, slots: int) -> Resources:
    """What this machine gives the experiment's trials at so many ranks each."""
    gpus, cores = visible_gpus(), available_cores()
    at_once = 1
    if experiment.searcher.get("name", "single") != "single":
        limit = experiment.searcher.get("max_concurrent_trials")
        at_once = trials_at_once(slots, gpus, cores, limit if isinstance(limit, int) else None)
    return Resources(slots, gpus, cores, at_once)


def check_all(
    experiment: Experiment,
    resources: Resources,
    slots_flag: str | None,
    check: Callable[[Experiment, int], Checked],
) -> Checked:
    """Checks the experiment for this machine; returns what `check` returned.

    Raises:
        ConfigError: With all faults: slots, and what `check` finds.
    """
    faults = Faults()
    path = slots_flag or "resources.slots_per_trial"
    slots, gpus = resources.slots, resources.gpus
    if slots < 1:
        faults.add(path, f"expected at least 1, got {slots}")
    elif gpus and slots > gpus:
        there = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        faults.add(path, f"asks for {slots} GPUs, this machine has {there}; try --slots {gpus}")
    if experiment.searcher.get("name", "single") != "single":
        _check_search(experiment.searcher, faults)
    try:
        checked = check(experiment, max(1, slots))
    except ConfigError as error:
        faults.extend(error)
    faults.raise_if_any(str(experiment.path))
    return checked


def _check_search(searcher: Mapping[str, Any], faults: Faults) -> None:
    """Notes what a search needs here beyond what every experiment needs."""
    if find_spec("optuna") is None:
        faults.add("searcher.name", "searching needs Optuna here: pip install optuna==5.0.0")
    length = searcher.get("max_length")
    if searcher.get("name") in HALVING and isinstance(length, Mapping) and "records" in length:
        reason = "rungs in records are not counted here; say batches or epochs"
        faults.add("searcher.max_length.records", reason)


def facts_of(plan: Plan, previous: dict[str, Any]) -> dict[str, Any]:
    """Returns this invocation's entries of summary.json (see summary.py)."""
    facts = {
        "experiment": plan.experiment.name,
        "searcher": describe_searcher(plan.experiment.searcher),
        "slots": plan.resources.slots,
        "device": "gpu" if plan.resources.gpus else "cpu",
        "directory": str(Path.cwd()),
        "versions": installed_versions(),
    }
    if "command" in previous:
        return facts | {"resumed_by": [*previous.get("resumed_by", []), plan.command]}
    return facts | {"command": plan.command}


def installed_versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide over results."""
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def own_command(terminal: Terminal) -> str:
    """Returns the command line of this process, without secrets."""
    return terminal.command(*without_secrets(sys.argv[1:]))
