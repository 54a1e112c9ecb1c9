"""The trial's side of the runner's contract in a few lines; started by a real torchrun.

Where the experiment has a learning rate, eval_loss depends on it (best at 1e-3), and where the
runner decides over the trial, it is validated at every step and waits for the decision.

The tests copy it into a temporary directory and steer it by environment variables:

    TINY_STEPS, TINY_STEP_S   how many steps, and seconds that each takes
    TINY_SAVE_EVERY           steps between checkpoints
    TINY_SAVE_S               seconds that the checkpoint of a stop takes
    TINY_FAIL                 what rank 1 (TINY_FAIL_RANK) does at step TINY_FAIL_AT: raise,
                              raise_once, kill, config_error
    TINY_FAIL_RATE            the learning rate at which it fails
"""

import argparse
import json
import math
import os
import re
import signal
import sys
import time
import uuid
from pathlib import Path

RANK = int(os.environ["RANK"])


def setting(name: str, default: float) -> float:
    return float(os.environ.get(f"TINY_{name}", default))


def last_step(trial: Path) -> int:
    found = trial.glob("checkpoints/[!.]*/metadata.json")
    return max([json.loads(path.read_text())["steps_completed"] for path in found], default=0)


def learning_rate(args: argparse.Namespace) -> float | None:
    found = re.search(r"learning_rate: (\S+)", args.experiment.read_text())
    return float(found.group(1)) if found else None


def eval_loss(args: argparse.Namespace, step: int) -> float:
    rate = learning_rate(args)
    return abs(step - 4) + 0.5 if rate is None else abs(math.log10(rate) + 3) + 1 / step


def is_failing(args: argparse.Namespace) -> bool:
    rate = learning_rate(args)
    return rate is not None and math.isclose(rate, setting("FAIL_RATE", -1))


def is_stopped(trial: Path, step: int) -> bool:
    """Waits for the runner's decision on a step, where it decides."""
    decisions = trial / "decisions.jsonl"
    while decisions.exists():
        for row in map(json.loads, decisions.read_text().splitlines()):
            if row["steps_completed"] == step:
                return row["stop"]
        time.sleep(0.01)
    return False


def save(trial: Path, step: int, seconds: float = 0.0) -> None:
    name = str(uuid.uuid4())
    aside = trial / "checkpoints" / f".{name}"
    aside.mkdir(parents=True)
    time.sleep(seconds)
    (aside / "manifest.json").write_text("{}")
    (aside / "metadata.json").write_text(json.dumps({"steps_completed": step}))
    aside.rename(trial / "checkpoints" / name)


def report(trial: Path, group: str, step: int, **metrics: float) -> None:
    row = {"time": time.time(), "group": group, "steps_completed": step, "metrics": metrics}
    with open(trial / "metrics.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")


def meet(trial: Path, step: int) -> None:
    """Lets no rank begin a step before all have come to it, as collective operations do."""
    meeting = trial / f".meeting-{os.environ['TORCHELASTIC_RUN_ID']}"
    meeting.mkdir(exist_ok=True)
    (meeting / f"{step}-{RANK}").touch()
    everyone = [meeting / f"{step}-{rank}" for rank in range(int(os.environ["WORLD_SIZE"]))]
    while not all(path.exists() for path in everyone) and not (trial / "stop").exists():
        time.sleep(0.01)


def fail(trial: Path, how: str) -> None:
    if how == "raise" or (how == "raise_once" and not (trial / "failed_once").exists()):
        (trial / "failed_once").touch()
        raise ValueError("rank 1 is ill")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "config_error":
        (trial / "config_error").write_text("ConfigError: data: no rows")
        sys.exit(2)


def stop(trial: Path, step: int) -> None:
    if RANK == 0:
        save(trial, step, setting("SAVE_S", 0))
        (trial / "preempted").touch()
    while not (trial / "preempted").exists():
        time.sleep(0.05)
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiment", type=Path, required=True)
    parser.add_argument("--trial_dir", type=Path, required=True)
    args = parser.parse_args()
    trial, steps = args.trial_dir, int(setting("STEPS", 10))
    first = last_step(trial) + 1
    environment = {name: os.environ.get(name) for name in ("LOCAL_SIZE", "PATH", "MARK")}
    print(f"rank {RANK} starts at step {first}; stdin: {sys.stdin.read()!r}")
    print(json.dumps(environment | {"experiment": args.experiment.is_file()}))
    print("WARNING: the tiny trial learns nothing", file=sys.stderr)
    for step in range(first, steps + 1):
        if (trial / "stop").exists():
            stop(trial, step - 1)
        meet(trial, step)
        time.sleep(setting("STEP_S", 0.05))
        if is_failing(args):
            raise ValueError("this learning rate is too large")
        if setting("FAIL_RANK", 1) == RANK and step == setting("FAIL_AT", 0):
            fail(trial, os.environ["TINY_FAIL"])
        if RANK == 0:
            report(trial, "training", step, loss=1 / step, tokens_per_second=100.0, max_steps=steps)
            due = step % setting("SAVE_EVERY", 4) == 0
            if due:
                save(trial, step)
            if due or (trial / "decisions.jsonl").exists():
                report(trial, "validation", step, eval_loss=eval_loss(args, step), batches=step)
        if is_stopped(trial, step):
            if RANK == 0 and last_step(trial) < step:
                save(trial, step)
            break
    # What a rank says last, without an end of line, is not to be lost either.
    print(f"rank {RANK} has done {steps}", end="")


if __name__ == "__main__":
    main()
