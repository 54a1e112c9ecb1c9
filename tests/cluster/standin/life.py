"""An experiment's life on a stand-in cluster: submitting it, meddling with it, looking at it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.standin.cluster import Experiment
from cluster.standin.master import Master
from cluster.standin.requests_log import Fault
from cluster.standin.trials import ENDED, Trial
from conftest import ROOT


class Life:
    """An experiment on a stand-in cluster of its own."""

    def __init__(self, master: Master, directory: Path, context: Path = ROOT) -> None:
        """`context` is what `det experiment create` submits unless told otherwise."""
        self.master, self.directory, self.context = master, directory, context
        self._number = 0

    @property
    def experiment(self) -> Experiment:
        return self.master.cluster.experiments[self._number]

    @property
    def trial(self) -> Trial:
        """The first trial."""
        return self.experiment.trials[0]

    def det(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the real command line against this master."""
        return self._run(str(Path(sys.executable).with_name("det")), *arguments)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DET_")}
        mine = {"DET_MASTER": self.master.url, "DET_USER": "determined", "DET_PASS": "Passw0rd"}
        return subprocess.run(
            command,
            env=inherited | mine | {"HOME": str(self.directory)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def create(
        self, config: Mapping[str, Any], *arguments: str, context: Path | None = None
    ) -> None:
        """`det experiment create` of a configuration."""
        file = self.directory / "experiment.yaml"
        file.write_text(yaml.safe_dump(dict(config)))
        self.create_from(file, *arguments, context=context)

    def autotune(self, method: str, config: Mapping[str, Any], *arguments: str) -> None:
        """`python -m determined.pytorch.dsat`, up to 0.37; `experiment` is then the runner's."""
        file = self.directory / "experiment.yaml"
        file.write_text(yaml.safe_dump(dict(config)))
        dsat = (sys.executable, "-m", "determined.pytorch.dsat", method)
        done = self._run(*dsat, str(file), str(self.context), *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        self._number += 1
        assert f"Created experiment {self._number}" in done.stdout

    def create_from(self, file: Path, *arguments: str, context: Path | None = None) -> None:
        """`det experiment create` of a file."""
        submitted = str(context or self.context)
        done = self.det("experiment", "create", str(file), submitted, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        self._number += 1
        assert f"Created experiment {self._number}" in done.stdout

    def on(self, method: str, pattern: str, **what: Any) -> None:
        """Plays a fault, or does something, at a request."""
        self.master.faults.add(Fault(method, pattern, **what))

    def on_metrics(self, group: str, step: int, act: Callable[[], Any], **what: Any) -> None:
        """Does something when metrics of a step have arrived, before they are answered."""

        def is_it(body: Any) -> bool:
            return body["group"] == group and int(body["metrics"]["stepsCompleted"]) == step

        self.on("POST", r"/api/v1/trials/\d+/metrics", when=is_it, after=lambda _: act(), **what)

    def preempt(self) -> None:
        """The scheduler wants the slots back; the trial is to go on later."""
        self.master.cluster.preempt(self.trial)

    def preempt_at_checkpoint(self, steps: int) -> None:
        """Preempts while a checkpoint is reported, and answers once the trial has heard of it."""

        def tell(body: Any) -> None:
            self.preempt()
            allocation = self.trial.allocation
            self.wait(lambda: allocation is not None and allocation.told, 30)
            time.sleep(0.3)  # the answer has been written, but perhaps not read yet

        def is_it(body: Any) -> bool:
            return body["metadata"]["steps_completed"] == steps

        self.on("POST", "/api/v1/checkpoints", when=is_it, before=tell)

    def kill(self) -> None:
        """The first trial's first container is gone, all of a sudden."""
        allocation = self.trial.allocation
        assert allocation is not None
        allocation.containers[0].kill()

    def wait(self, condition: Callable[[], bool], timeout_s: float = 240) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"waited {timeout_s} s in vain\n{self.describe()}")
            time.sleep(0.05)

    def wait_for_end(self, state: str = "COMPLETED", timeout_s: float = 240) -> None:
        """Waits for every trial to end, and checks the experiment's state."""
        self.wait(lambda: self.experiment.state in ENDED and self._quiet(), timeout_s)
        assert self.experiment.state == state, self.describe()

    def _quiet(self) -> bool:
        return all(trial.allocation is None for trial in self.experiment.trials)

    def describe(self) -> str:
        """What a person needs to see why a life went wrong."""
        parts = [f"experiment {self.experiment.state} {self.experiment.failure}"]
        for trial in self.experiment.trials:
            parts.append(f"trial {trial.id} {trial.state} exit codes {trial.codes}")
            parts += trial.log[-60:]
        return "\n".join(parts)

    def decisions(self) -> list[str]:
        """What the master was told that it acts on, in order, without metrics and progress."""
        names = {
            "runs/start": "start",
            "checkpoints": "checkpoint",
            "ack_preemption": "ack",
            "completed_operation": "operation completed",
        }
        found = []
        for request in self.master.log.matching("POST", ".*"):
            for ending, name in names.items():
                if request.path.endswith(ending) and request.status == 200:
                    steps = (request.body or {}).get("metadata", {}).get("steps_completed")
                    found.append(name if steps is None else f"{name} {steps}")
        return found

    def paths(self) -> list[str]:
        """Paths of all requests but the long wait for preemption, in order of arrival."""
        found = [request.path for request in self.master.log.matching("GET|POST", ".*")]
        return [path for path in found if not path.endswith(("preemption", "progress"))]

    def reports(self, group: str) -> list[int]:
        """Steps of the metrics of a group that were accepted, in order of arrival."""
        accepted = [r for r in self.master.log.matching("POST", ".*/metrics") if r.status == 200]
        return [
            int(r.body["metrics"]["stepsCompleted"]) for r in accepted if r.body["group"] == group
        ]

    def saved_steps(self) -> list[int]:
        """Steps of the first trial's checkpoints, in the order in which they were reported."""
        return [c["metadata"]["steps_completed"] for c in self.trial.checkpoints]

    def losses(self) -> dict[int, float]:
        return self.trial.rows("training", "loss")

    def files(self, checkpoint: Mapping[str, Any]) -> Path:
        """Where a checkpoint's files lie."""
        return self.master.cluster.storage / checkpoint["uuid"]
