"""What DetCallback costs a step, on the real harness against the stand-in master of the tests.

    python -m benchmarks.callback
    python -m benchmarks.callback --model models/smollm2-135m-instruct --steps 6

Every step is logged. For 1 and 2 ranks, and for a master that answers at once and one that takes
50 ms for metrics and progress: the time in the callback's events of a step (its beginning, its end
and the log), on the chief, against the step's own, as medians over the steps after the first two.
The chief does the work; other ranks wait for its word on preemption, as they do for gradients. No
evaluation and no checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULT = "BENCHMARK_RESULT"
WARM_UP = 2


def timed_trial() -> None:
    """The trial: `run_clm` with a clock around every event that DetCallback handles."""
    from det_files import run_clm
    from det_files.cluster.callback import DetCallback

    spent: dict[int, float] = {}
    began: dict[int, float] = {}

    def clocked(name: str, handler: Any) -> Any:
        def call(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            # What stands at a step's beginning belongs to the step that begins.
            step = state.global_step + (name == "on_step_begin")
            if name == "on_step_begin":
                began[step] = start
            try:
                return handler(self, args, state, control, **kwargs)
            finally:
                spent[step] = spent.get(step, 0.0) + time.perf_counter() - start

        return call

    for name in ("on_step_begin", "on_step_end", "on_log"):
        setattr(DetCallback, name, clocked(name, getattr(DetCallback, name)))
    sys.argv = ["run_clm"]
    run_clm.main()
    if os.environ.get("RANK", "0") == "0":
        steps = sorted(began)[:-1]
        rows = [{"step_s": began[s + 1] - began[s], "callback_s": spent[s]} for s in steps]
        Path(os.environ[RESULT]).write_text(json.dumps(rows))


def measure(model: Path, data: Path, steps: int, ranks: int, delay_s: float) -> dict[str, float]:
    """Runs one trial on a cluster of its own; medians in seconds."""
    from cluster.standin.life import Life
    from cluster.standin.master import Master

    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        life = Life(Master(Path(directory) / "c", [ranks]), Path(directory))
        result = Path(directory) / "result.json"
        if delay_s:
            life.on("GET|POST", ".*/(metrics|progress|checkpoints)", times=10**9, delay_s=delay_s)
        life.create(
            {
                "name": "callback",
                "resources": {"slots_per_trial": ranks},
                "searcher": {"name": "single", "metric": "eval_loss"},
                "environment": {"environment_variables": [f"{RESULT}={result}"]},
                "max_restarts": 0,
                "entrypoint": "python3 -m determined.launch.torch_distributed "
                "python3 -m benchmarks.callback --timed",
                "hyperparameters": {
                    "model_arguments": {"model_name_or_path": str(model), "dtype": "float32"},
                    "data_arguments": {"sources": [{"path": str(data)}]},
                    "tuning_arguments": {"method": "lora"},
                    "training_arguments": {
                        "max_steps": steps,
                        "per_device_train_batch_size": 4 // ranks,
                        "eval_strategy": "no",
                        "save_strategy": "no",
                    },
                },
            },
            "--include",
            str(ROOT / "benchmarks"),
        )
        try:
            life.wait_for_end(timeout_s=1800)
        finally:
            life.master.close()
        rows = json.loads(result.read_text())[WARM_UP:]
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="default: a tiny one of two layers")
    parser.add_argument("--data", type=Path, help="default: the tests' or data/quickstart")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--timed", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.timed:
        timed_trial()
        return
    sys.path.insert(0, str(ROOT / "tests"))
    from tiny import make_data, make_model

    with tempfile.TemporaryDirectory() as directory:
        model, data = chosen.model, chosen.data
        if model is None:
            model = make_model(Path(directory) / "model")
            data = data or make_data(Path(directory) / "data")
        model = model.resolve()
        data = (data or ROOT / "data" / "quickstart").resolve()
        print("| ranks | master answers after | step | callback | share |\n|---|---|---|---|---|")
        for ranks in (1, 2):
            for delay_s in (0.0, 0.05):
                found = measure(model, data, chosen.steps, ranks, delay_s)
                step_s, callback_s = found["step_s"], found["callback_s"]
                print(
                    f"| {ranks} | {delay_s * 1e3:.0f} ms | {step_s * 1e3:.1f} ms "
                    f"| {callback_s * 1e3:.2f} ms | {callback_s / step_s:.2%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
