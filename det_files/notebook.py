"""Run the notebook that compares a base model with the fine-tuned one, and write it as a page.

    python -m det_files.notebook RUN [--output FILE.html] [--set NAME=VALUE]…

RUN is a local run's directory (or a checkpoint's), or on the cluster at DET_MASTER an experiment's
id (or a checkpoint's UUID). The notebook itself is not changed: its parameters are set in a cell
behind the one that is tagged "parameters". The last line on stdout is the page.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from det_files.durable import write_atomically
from det_files.experiment import parse_yaml
from det_files.faults import ConfigError, Faults, exit_on_config_error
from det_files.showing.execution import execute, inject, read_notebook, to_html
from det_files.trained.locating import is_uuid

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "compare_base_and_finetuned.ipynb"
PAGE = "comparison.html"
TITLE = "Base and fine-tuned model"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    args = _parse(argv)
    faults = Faults()
    notebook = read_notebook(NOTEBOOK)
    values = {"run": _run_name(args.run, faults), **_settings(args.settings, faults)}
    output = args.output or _usual_output(args.run)
    is_usual = args.output is None  # beside a run that may not be there, which is a fault already
    if output.is_dir() or not (is_usual or output.absolute().parent.is_dir()):
        reason = "is a directory" if output.is_dir() else "its directory is not there"
        faults.add("--output", f"{output}: {reason}")
    try:
        notebook = inject(notebook, values)
    except ConfigError as error:
        faults.extend(error)
    faults.raise_if_any()
    started = time.monotonic()
    print(f"running {NOTEBOOK.name} on {args.run}", flush=True)
    page = _run(notebook)
    if page is None:
        return 1
    write_atomically(output, page)
    print(f"done in {time.monotonic() - started:.0f} s")
    print(output)
    return 0


def _run(notebook: Any) -> str | None:
    """The page; None where a cell failed, whose traceback is shown."""
    from nbclient.exceptions import CellExecutionError

    try:
        return to_html(execute(notebook, NOTEBOOK.parent), TITLE)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return None


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m det_files.notebook",
        description="Compares base and fine-tuned model of a run in a notebook, and writes a page.",
    )
    parser.add_argument(
        "run", metavar="RUN", help="runs/<name>/<number>, or the id of an experiment on a cluster"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.html", help=f"default: RUN/{PAGE}")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value of a parameter; VALUE is YAML (may be given several times)",
    )
    return parser.parse_args(argv)


def _run_name(run: str, faults: Faults) -> str:
    """The run as the notebook, which runs elsewhere, can find it."""
    if _is_on_cluster(run):
        return run
    if not Path(run).is_dir():
        faults.add(run, "no such directory; expected a run's directory, or an experiment's id")
    return str(Path(run).absolute())


def _is_on_cluster(run: str) -> bool:
    """Whether this is an experiment's id or a checkpoint's UUID."""
    return run.isdecimal() or (is_uuid(run) and not Path(run).is_dir())


def _usual_output(run: str) -> Path:
    return Path(f"comparison_{run}.html") if _is_on_cluster(run) else Path(run) / PAGE


def _settings(settings: Sequence[str], faults: Faults) -> dict[str, Any]:
    values = {}
    for text in settings:
        name, found, value = text.partition("=")
        if not found:
            faults.add(f"--set {text}", "expected NAME=VALUE")
            continue
        try:
            values[name] = parse_yaml(value, f"--set {name}")
        except ConfigError as error:
            faults.extend(error)
    return values


if __name__ == "__main__":
    exit_on_config_error(main)
