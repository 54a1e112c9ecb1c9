"""Validates experiment files: every fault of each, with its place; nothing is started.

    python -m det_files.validate experiments/swallow_70b_ds3.yaml
    python -m det_files.validate experiments

Neither torch nor transformers is imported, so one file takes about a second.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from det_files.args import RunArgs, experiment_facts
from det_files.deepspeed_config import nvme_needs
from det_files.experiment import Experiment, read_experiment
from det_files.faults import EXIT_CONFIGURATION, ConfigError, Faults, exit_on_config_error
from det_files.resolution import resolve
from det_files.searcher import describe_rungs
from det_files.trial_lengths import warn_of_warmup, with_ranges

MEBIBYTE = 1024 * 1024
CONTEXT_LIMIT_BYTES = 95 * MEBIBYTE  # Determined's limit on the decoded files of a context


def check_experiment(
    experiment: Experiment, slots: int | None = None, context: Path | None = None
) -> RunArgs:
    """Returns one draw of the experiment's arguments at `slots` ranks (default: its own).

    Raises:
        ConfigError: every fault of the experiment, at once.
    """
    faults = Faults()
    args = find_faults(experiment, slots or experiment.slots, context or Path.cwd(), faults)
    if slots is not None and slots < 1:
        faults.add("--slots", f"expected >= 1, got {slots}")
    faults.raise_if_any(str(experiment.path))
    assert args is not None
    return args


def load_whole(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """As `load_experiment`, but faults of the top level come together with all the others.

    Raises:
        ConfigError: the top level has faults; what is below it was looked at, too.
    """
    faults = Faults()
    experiment = read_experiment(path, overrides, faults)
    if faults.found:
        find_faults(experiment, experiment.slots, Path.cwd(), faults)
    faults.raise_if_any(str(path))
    return experiment


def find_faults(
    experiment: Experiment, slots: int, context: Path, faults: Faults
) -> RunArgs | None:
    """Notes the faults of everything below the top level; warnings go to the experiment's list."""
    args = resolve(
        experiment.hyperparameters,
        experiment.entrypoint.flags,
        experiment_facts(experiment, slots),
        context,
        faults,
        experiment.warnings,
    )
    if args is None:
        return None
    given = experiment.hyperparameters.get("training_arguments") or {}
    warn_of_warmup(experiment.searcher, with_ranges(args.training, given), experiment.warnings)
    if args.training["oom_backoff"] and experiment.max_restarts == 0:
        where = "hyperparameters.training_arguments.oom_backoff"
        reason = "a cluster starts no trial again with max_restarts: 0, and none backs off there"
        experiment.warnings.append(f"{where}: {reason}")
    return args


def context_bytes(context: Path) -> int:
    """Bytes that `det experiment create … CONTEXT` would send: .detignore is honoured."""
    import pathspec
    from determined.common.constants import DEFAULT_DETIGNORE

    lines = list(DEFAULT_DETIGNORE)
    if (context / ".detignore").is_file():
        lines += (context / ".detignore").read_text(encoding="utf-8").splitlines()
    ignored = pathspec.PathSpec.from_lines("gitwildmatch", lines)
    total = 0
    for parent, directories, files in os.walk(context):
        relative = Path(parent).relative_to(context)
        directories[:] = [d for d in directories if not ignored.match_file(f"{relative / d}/")]
        for name in files:
            path = Path(parent) / name
            skipped = name == ".detignore" or ignored.match_file(str(relative / name))
            if not skipped and path.is_file():
                total += path.stat().st_size
    return total


def check_context(context: Path) -> None:
    """Raises a ConfigError where the context directory is over Determined's limit."""
    size = context_bytes(context)
    if size > CONTEXT_LIMIT_BYTES:
        raise ConfigError(
            f"{context.resolve()}: the context has {size / MEBIBYTE:.0f} MiB and Determined takes "
            f"{CONTEXT_LIMIT_BYTES // MEBIBYTE}; name what a trial does not need in .detignore"
        )


def validate_file(path: Path, context: Path) -> bool:
    """Prints what is wrong with one file, or that nothing is; True where nothing is."""
    faults = Faults()
    try:
        experiment = read_experiment(path, (), faults)
        args = find_faults(experiment, experiment.slots, context, faults)
        faults.raise_if_any(str(path))
    except ConfigError as error:
        print(error)
        return False
    print(f"{path}: ok")
    for warning in experiment.warnings:
        print(f"  warning: {warning}")
    needs = nvme_needs(args.deepspeed) if args and args.deepspeed else ""
    for note in (needs, describe_rungs(experiment.searcher)):
        if note:
            print(f"  note: {note}")
    return True


def experiment_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and every *.yaml of the directories named."""
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if path.is_dir() and not any(path.glob("*.yaml")):
            raise ConfigError(f"{path}: no *.yaml in this directory")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m det_files.validate", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|DIRECTORY")
    parser.add_argument("--context", type=Path, default=Path(), help="the context directory")
    options = parser.parse_args(argv)
    clean = [validate_file(path, options.context) for path in experiment_files(options.paths)]
    check_context(options.context)
    return 0 if all(clean) else EXIT_CONFIGURATION


if __name__ == "__main__":
    exit_on_config_error(main)
