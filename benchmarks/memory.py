"""The memory estimate beside what runs really take, in fresh processes of the project's entrypoint.

    python -m benchmarks.memory --model models/smollm2-135m-instruct
    python -m benchmarks.memory --model models/smollm2-135m-instruct --published    # one GPU

What is counted is said in memory_rank.py. Two figures a run: model states, when a step has ended
and the next has not begun; and the peak from the first step to the last. But for a few cases all
rows have the same length, so that the longest is also the usual one; weights are random, so that
none are mapped from a file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks import machine
from benchmarks.memory_cases import (
    Case,
    cases_of,
    gpu_cases_of,
    hyperparameters,
    make_data,
    make_model,
    published_cases,
)

MEBIBYTE = 1024 * 1024
_TRACING = Lock()  # it puts functions of its own in torch's places


def estimated(case: Case, config: Mapping[str, Any], on_gpu: bool) -> dict[str, Any]:
    """{"states", "peak"} in bytes, by det_files.memory; "whole" is the peak with its margin.

    Raises:
        RuntimeError: the model could not be traced.
    """
    from det_files.args import RunFacts
    from det_files.memory.estimate import estimate_run, read_shape
    from det_files.resolution import resolve_or_raise

    args = resolve_or_raise(config, [], RunFacts(slots=case.ranks, kind=case.kind), machine.ROOT)
    with _TRACING:
        shape = read_shape(args, None if on_gpu else "cpu")
    if shape.notes:
        raise RuntimeError(f"{case.name} is not counted whole: {'; '.join(shape.notes)}")
    found = estimate_run(shape, args)
    offload = found.host["offload"] if found.on_cpu else 0
    without_margin = found.device_bytes - found.device["margin"]
    return {
        "states": found.resting_bytes + offload,
        "peak": without_margin + offload,
        "whole": found.device_bytes + offload,
        "moment": found.peak,
        "parts": dict(found.device),
        "resting": dict(found.resting),
    }


def measured(
    case: Case, config: Mapping[str, Any], directory: Path, library: Path | None
) -> dict[str, int]:
    """The same of rank 0 of a real run in `directory`; `library` counts on a CPU.

    Raises:
        RuntimeError: the run failed; with the end of what it said.
    """
    result = directory / "measured.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(case.ranks), "-m", "benchmarks.memory_rank"]
    command += [str(result), case.kind, "--trial_dir", str(directory / "trial")]
    for section, value in config.items():
        command += ["--set", f"hyperparameters.{section}={json.dumps(value)}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    counter = {"LD_PRELOAD": str(library)} if library else {}
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": path} | counter,
        cwd=machine.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode or not result.is_file():
        raise RuntimeError(f"{case.name} failed:\n{done.stdout[-4000:]}")
    return dict(json.loads(result.read_text(encoding="utf-8")))


def build_counter(directory: Path) -> Path:
    """allocations.c as a library."""
    library = directory / "allocations.so"
    source = str(Path(__file__).with_name("allocations.c"))
    command = ["cc", "-O2", "-shared", "-fPIC", source, "-o", str(library), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def compare(
    case: Case, model: Path, data: Path, directory: Path, library: Path | None
) -> dict[str, Any]:
    """One case, measured and estimated, with the relative errors."""
    directory.mkdir()
    config = hyperparameters(case, model, data)
    real = measured(case, config, directory, library)
    found = estimated(case, config, library is None)
    errors = {name: found[name] / real[name] - 1 for name in ("states", "peak")}
    return {"case": case.name, "measured": real, "estimated": found, "errors": errors}


def show(row: Mapping[str, Any]) -> str:
    """A line of a Markdown table; on a GPU with reserved bytes and the estimate with its margin."""
    cells = [row["case"]]
    for name in ("states", "peak"):
        real, found = row["measured"][name], row["estimated"][name]
        cells += [f"{real / MEBIBYTE:.1f}", f"{found / MEBIBYTE:.1f}"]
        cells += [f"{100 * row['errors'][name]:+.1f} %"]
    if "reserved" in row["measured"]:
        cells += [f"{row['measured']['reserved'] / MEBIBYTE:.1f}"]
        cells += [f"{row['estimated']['whole'] / MEBIBYTE:.1f}"]
    return f"| {' | '.join(cells)} |"


def print_heading(on_gpu: bool) -> None:
    """The table's first lines."""
    cells = [
        "",
        "states: measured MiB",
        "estimated",
        "error",
        "peak: measured",
        "estimated",
        "error",
    ]
    cells += ["reserved", "estimate with margin"] if on_gpu else []
    print(f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}", flush=True)


def chosen_cases(options: argparse.Namespace, on_gpu: bool) -> list[Case]:
    """What the command line asks for."""
    if options.published:
        found = published_cases()
    else:
        of = gpu_cases_of if on_gpu else cases_of
        found = [case for name in ("tiny", "135M") for case in of(name)]
    return [case for case in found if all(word in case.name for word in options.only.split())]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="a directory with config.json and a tokenizer"
    )
    parser.add_argument("--published", action="store_true", help="models of billions; on a GPU")
    parser.add_argument("--only", default="", help="cases whose names hold these words")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(argv)
    on_gpu = bool(machine.describe()["gpu"])
    if options.published and not on_gpu:
        parser.error("--published needs a GPU")
    cases = chosen_cases(options, on_gpu)
    rows: list[dict[str, Any]] = []
    failed = 0
    print_heading(on_gpu)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        directory = Path(temporary)
        library = None if on_gpu else build_counter(directory)
        make_data(directory / "data")
        models = {"135M": options.model.resolve()}
        for name in {case.model for case in cases} - set(models):
            models[name] = make_model(name, directory / name, options.model)
        runs = [
            pool.submit(
                compare,
                case,
                models[case.model],
                directory / "data" / case.data,
                directory / str(n),
                library,
            )
            for n, case in enumerate(cases)
        ]
        for run in runs:
            try:
                rows.append(run.result())
            except Exception:  # the others' figures are worth having
                failed += 1
                traceback.print_exc()
            else:
                print(show(rows[-1]), flush=True)
            if options.json:
                facts = {"machine": machine.describe(), "rows": rows}
                options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
