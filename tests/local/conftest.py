"""A directory with an experiment and the tiny trial, and the runner as a process in it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXPERIMENT = """
name: tiny
searcher: {{name: single, metric: eval_loss}}
resources: {{slots_per_trial: 2}}
max_restarts: {max_restarts}
environment:
  environment_variables: {variables}
hyperparameters: {{training_arguments: {{max_steps: 10}}}}
entrypoint: python -m determined.launch.torch_distributed python -m det_files.run_clm
"""


def wait_for(condition: Callable[[], Any], seconds: float = 40.0) -> Any:
    """Returns the condition's first true value; fails the test when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s")
        time.sleep(0.05)
    return value


class Context:
    """The directory that runs are started in."""

    def __init__(self, path: Path):
        self.path = path
        self.trial = path / "runs" / "tiny" / "1" / "trials" / "1"
        self.run = path / "runs" / "tiny" / "1"
        self._started: list[subprocess.Popen] = []

    def write_experiment(self, max_restarts: int = 0, **settings: Any) -> None:
        """Writes tiny.yaml; the settings steer the tiny trial through its environment."""
        variables = [f"TINY_{name.upper()}={value}" for name, value in settings.items()]
        text = EXPERIMENT.format(max_restarts=max_restarts, variables=[*variables, "MARK=here"])
        (self.path / "tiny.yaml").write_text(text)

    def start(self, *words: str, **options: Any) -> subprocess.Popen:
        """Starts the runner, by default on tiny.yaml; its output goes to pipes."""
        command = [sys.executable, str(HERE / "stand_in.py"), *(words or ("tiny.yaml",))]
        env = os.environ | {"PYTHONPATH": str(ROOT), "MARK": "shell"}
        env.pop("OMP_NUM_THREADS", None)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=env, **({"cwd": self.path} | streams | options))
        self._started.append(process)
        return process

    def finish(self, process: subprocess.Popen, seconds: float = 40.0) -> tuple[int, str, str]:
        """Returns (exit code, stdout, stderr) of a runner that ends within `seconds`."""
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err

    def steps(self) -> int:
        """How many rows the trial has written."""
        metrics = self.trial / "metrics.jsonl"
        return metrics.read_text().count("training") if metrics.exists() else 0

    def processes(self) -> list[int]:
        """The processes that name this directory in their command line: torchrun, ranks, all."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(self.path).encode() in entry.read_bytes():
                    found.append(int(entry.parent.name))
            except OSError:
                continue
        return found

    def ranks(self) -> list[int]:
        """The processes that run the tiny trial's module itself."""
        return [p for p in self.processes() if b"\0-m\0tiny_trial" in command_of(p)[:200]]

    def clean_up(self) -> None:
        """Ends what a failed test has left running."""
        for pid in [p.pid for p in self._started if p.poll() is None] + self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.communicate()


def command_of(pid: int) -> bytes:
    """The command line of a process, its words divided by zero bytes; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    shutil.copy(HERE / "tiny_trial.py", tmp_path)
    context = Context(tmp_path)
    context.write_experiment()
    yield context
    context.clean_up()
