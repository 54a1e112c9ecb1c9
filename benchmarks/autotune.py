"""Autotuning beside the exhaustive grid, on one machine, one after the other.

    python -m benchmarks.autotune --model models/smollm2-135m-instruct

The grid measures every configuration once. The pick of the autotuning is then looked up in the
grid: its throughput there, over the grid's best, is what the search has lost, whatever the machine
did in between. The best of many single measurements is in part a lucky one, so that where the two
differ they take turns once more, and the ratio of these is told as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import machine

EXPERIMENT = "experiments/smollm2_135m_quickstart.yaml"
_KEY = ("stage", "offload", "checkpointing", "bucket", "micro_batch")
Entry = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What the two came to; throughputs in tokens a second, `relative` of the pick in the grid.

    `again` is pick over best where they were measured once more, in turns.
    """

    grid_trials: int
    tuned_trials: int
    grid_seconds: float
    tuned_seconds: float
    best: Entry
    pick: Entry
    pick_in_grid: float
    relative: float
    confidence: str
    again: float | None = None


def compare(grid: Entry, tuned: Entry) -> Comparison:
    """Compares two runs by their summary.json.

    Raises:
        ValueError: nothing was measured in one of them, or the grid lacks the pick.
    """
    measured = [e for e in grid["autotune"]["ranking"] if e["outcome"] == "measured"]
    if not measured or "best" not in tuned["autotune"]:
        raise ValueError("nothing was measured")
    key = _key(tuned["autotune"]["best"])
    found = [entry for entry in measured if _key(entry) == key]
    if not found:
        raise ValueError(f"the grid could not measure the pick: {tuned['autotune']['best']}")
    pick, best = found[0], measured[0]
    return Comparison(
        grid_trials=len(grid["trials"]),
        tuned_trials=len(tuned["trials"]),
        grid_seconds=grid["wall_seconds"],
        tuned_seconds=tuned["wall_seconds"],
        best=best,
        pick=tuned["autotune"]["best"],
        pick_in_grid=pick["throughput"],
        relative=pick["throughput"] / best["throughput"],
        confidence=tuned["autotune"]["confidence"],
    )


def _key(entry: Entry) -> tuple[Any, ...]:
    return tuple(entry[name] for name in _KEY)


def lines(found: Comparison) -> list[str]:
    """The comparison in words."""
    return [
        f"trials           grid {found.grid_trials}, autotuning {found.tuned_trials} "
        f"({found.tuned_trials / found.grid_trials:.0%})",
        f"time             grid {found.grid_seconds:.0f} s, autotuning {found.tuned_seconds:.0f} s",
        f"the grid's best  {_shown(found.best)}: {found.best['throughput']:.1f} tokens/s",
        f"the pick         {_shown(found.pick)}: {found.pick_in_grid:.1f} tokens/s in the grid",
        f"pick / best      {found.relative:.3f} in the grid"
        + (f", {found.again:.3f} in turns" if found.again is not None else ""),
        f"confidence       {found.confidence}",
    ]


def _shown(entry: Entry) -> str:
    return ", ".join(f"{name} {entry[name]}" for name in _KEY if entry[name] is not None)


def in_turns(options: argparse.Namespace, runs: Path, found: Comparison) -> float | None:
    """The pick's throughput over the best's, each measured `repeats` times; None for one of them.

    Raises:
        RuntimeError: a trial failed.
    """
    if _key(found.pick) == _key(found.best) or not options.repeats:
        return None
    sums = [0.0, 0.0]
    for _ in range(options.repeats):
        for number, entry in enumerate((found.pick, found.best)):
            one = argparse.Namespace(**vars(options))
            one.stages, one.micro_batches = str(entry["stage"]), str(entry["micro_batch"])
            one.checkpointing = "on" if entry["checkpointing"] else "off"
            (measured,) = run(one, runs, "--grid")["autotune"]["ranking"]
            sums[number] += measured["throughput"]
    return sums[0] / sums[1]


def run(options: argparse.Namespace, runs: Path, *more: str) -> Entry:
    """Runs one autotuning and returns its summary.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "det_files.autotune", str(options.experiment)]
    command += ["--slots", str(options.slots), "--runs-dir", str(runs)]
    command += ["--stages", options.stages, "--micro-batches", options.micro_batches]
    command += ["--checkpointing", options.checkpointing, "--steps", str(options.steps)]
    command += ["--warmup-steps", str(options.warmup_steps)]
    command += ["--set", f"hyperparameters.model_arguments.model_name_or_path={options.model}"]
    command += ["--set", f"hyperparameters.tuning_arguments={{method: {options.method}}}"]
    done = subprocess.run(
        [*command, *more], cwd=machine.ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout, file=sys.stderr)
    if done.returncode != 0 or not done.stdout.strip():
        raise RuntimeError(f"exit code {done.returncode}")
    directory = machine.ROOT / done.stdout.splitlines()[-1]
    summary: Entry = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return summary


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autotune", description=__doc__)
    add = parser.add_argument
    add("--experiment", type=Path, default=EXPERIMENT, help="default: %(default)s")
    add("--model", default="models/smollm2-135m-instruct")
    add("--method", default="full", choices=("full", "lora"))
    add("--slots", type=int, default=2)
    add("--stages", default="1,2,3")
    add("--micro-batches", default="1,2,4,8")
    add("--checkpointing", default="off,on")
    add("--steps", type=int, default=6, help="measured steps of a trial")
    add("--warmup-steps", type=int, default=2)
    add("--max-trials", type=int, help="of the autotuning; default: half of the grid")
    add("--repeats", type=int, default=2, help="turns of pick and best, where they differ")
    add("--runs-dir", type=Path, help="keeps the runs; default: a temporary directory")
    add("--json", type=Path, help="write everything here")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    described = machine.describe()
    limit = [] if options.max_trials is None else ["--max-trials", str(options.max_trials)]
    with tempfile.TemporaryDirectory(prefix="autotune-") as directory:
        runs = (options.runs_dir or Path(directory)).resolve()
        tuned = run(options, runs, *limit)
        grid = run(options, runs, "--grid")
        found = compare(grid, tuned)
        found = replace(found, again=in_turns(options, runs, found))
    where = described["gpu"] or described["cpu"]
    print(
        f"{described['date']}, {where}, {described['cores']} cores, load at the beginning "
        f"{described['load_average']:.1f}"
    )
    print("\n".join(lines(found)))
    if options.json:
        everything = {"machine": described, "grid": grid, "tuned": tuned, "compared": vars(found)}
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
