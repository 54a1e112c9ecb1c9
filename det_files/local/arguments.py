"""The command line of the local runner."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LocalArguments:
    """What the command line asked for; paths as they were given.

    Attributes:
        experiment: The experiment file; None only with `resume`.
        slots: Ranks to start; None means the experiment's (or the resumed run's) own number.
        overrides: `dotted.path=value` texts, in the order given.
        runs_dir: The directory under which a new run is allocated.
        resume: The run directory to continue, or None for a new run.
    """

    experiment: Path | None
    slots: int | None
    overrides: tuple[str, ...]
    runs_dir: Path
    resume: Path | None


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser; its help text is the reference for users."""
    parser = argparse.ArgumentParser(
        prog="python -m det_files.local",
        description="Run a Determined experiment file on this machine, without a cluster.",
        epilog="Ctrl-C or SIGTERM once: save a checkpoint and stop (exit 0). Twice: stop now. "
        "Exit codes: 0 done or stopped, 2 configuration, 1 anything else. "
        "The last line on stdout is the run directory.",
    )
    parser.add_argument("experiment", nargs="?", type=Path, metavar="EXPERIMENT.yaml")
    parser.add_argument(
        "--slots",
        type=int,
        metavar="N",
        help="ranks to start, GPUs where there are any (default: resources.slots_per_trial)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="override one value of the experiment; VALUE is YAML (may be given several times)",
    )
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: ./runs"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="RUN_DIR",
        help="continue this run with its own experiment; EXPERIMENT and --set are not used",
    )
    return parser


def parse_arguments(argv: Sequence[str] | None = None) -> LocalArguments:
    """Returns the parsed command line (`sys.argv` where `argv` is None).

    Raises:
        SystemExit: With code 2, after the usage on stderr, where neither EXPERIMENT nor --resume
            is given or an argument is malformed; with 0 for --help.
    """
    parser = build_parser()
    # parse_intermixed_args, so that EXPERIMENT may stand before, between or behind the options.
    given = parser.parse_intermixed_args(argv)
    if given.experiment is None and given.resume is None:
        parser.error("EXPERIMENT.yaml is needed (or --resume RUN_DIR)")
    return LocalArguments(
        experiment=given.experiment,
        slots=given.slots,
        overrides=tuple(given.overrides),
        runs_dir=given.runs_dir,
        resume=given.resume,
    )
