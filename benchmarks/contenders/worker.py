"""A contender's own process: it gets ready as its user would, then trains step by step.

    python -m benchmarks.contenders.worker SPECIFICATION.json --reports FD --began TIME

Started by `process.py`, which also says what is read and written.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from benchmarks.contenders.work import CEILING, OURS, PADDED, TRL, from_mapping

# Each has `run(assignment)`.
MODULES = {
    OURS: "benchmarks.contenders.ours",
    TRL: "benchmarks.contenders.trl_sft",
    PADDED: "benchmarks.contenders.padded_trainer",
    CEILING: "benchmarks.contenders.matrix_ceiling",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("specification", type=Path)
    parser.add_argument("--reports", type=int, required=True, help="a descriptor to write to")
    parser.add_argument("--began", type=float, required=True, help="seconds since the epoch")
    options = parser.parse_args()
    specification = json.loads(options.specification.read_text(encoding="utf-8"))
    work, contender = from_mapping(specification)

    import torch

    from benchmarks.contenders.pacing import Assignment, Commands, Reports, private_stream

    reports = Reports(private_stream(options.reports))
    torch.set_num_threads(work.threads)
    module = importlib.import_module(MODULES[contender.family])
    place = options.specification.parent
    try:
        module.run(Assignment(work, contender, place, Commands(), reports, options.began))
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        reports.send("failed", error=f"{type(error).__name__}: {lines[0][:300]}")
        raise


if __name__ == "__main__":
    main()
