"""Experiments, trials and slots of the stand-in: what the master decides, without HTTP."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import tarfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cluster.standin.container import Container
from cluster.standin.custom_search import CustomSearch
from cluster.standin.draws import draws
from cluster.standin.searchers import (
    Action,
    Close,
    Create,
    Method,
    SearcherFailed,
    Shutdown,
    Stop,
    ValidateAfter,
    make_method,
)
from cluster.standin.trials import ENDED, Allocation, Trial, next_state


@dataclass
class Experiment:
    id: int
    config: dict[str, Any]
    context: str  # base64 of a tar.gz
    draws: Iterator[dict[str, Any]]
    method: Method
    state: str = "ACTIVE"
    trials: list[Trial] = field(default_factory=list)
    failure: str = ""


class Cluster:
    """A cluster of agents with some slots each; every change goes through `lock`."""

    def __init__(self, root: Path, agents: list[int], operations: bool) -> None:
        """`operations`: searchers hand out operations, as up to 0.37."""
        self.root, self.agents, self.operations = root, agents, operations
        self.url = ""
        self.lock = threading.RLock()
        self.experiments: dict[int, Experiment] = {}
        self.storage = root / "storage"
        self.storage.mkdir(parents=True)
        self._free = list(agents)
        self._trials: dict[int, tuple[Experiment, Trial]] = {}
        self._closing = False

    # -- experiments ------------------------------------------------------------------------------

    def create_experiment(self, text: str, files: list[dict[str, Any]], active: bool) -> Experiment:
        """A new experiment from its YAML, which the master reads as YAML 1.1."""
        config = _with_defaults(yaml.safe_load(text))
        drawn = list(draws(config))
        if self.operations and config["searcher"]["name"] == "custom":
            method: Method = CustomSearch()
        else:
            method = make_method(config["searcher"], len(drawn), self.operations)
        with self.lock:
            identity = len(self.experiments) + 1
            experiment = Experiment(identity, config, _tar(files), iter(drawn), method)
            experiment.state = "ACTIVE" if active else "PAUSED"
            self.experiments[identity] = experiment
            self._act(experiment, method.start())
            self.schedule()
        return experiment

    def find(self, trial: int) -> tuple[Experiment, Trial]:
        return self._trials[trial]

    def find_allocation(self, identity: str) -> tuple[Experiment, Trial, Allocation]:
        for experiment, trial in list(self._trials.values()):
            if trial.allocation is not None and trial.allocation.identity == identity:
                return experiment, trial, trial.allocation
        raise KeyError(identity)

    def pause(self, experiment: Experiment) -> None:
        with self.lock:
            experiment.state = "PAUSED"
            for trial in experiment.trials:
                if trial.state == "ACTIVE":
                    trial.state = "PAUSED"
                    self.preempt(trial)

    def activate(self, experiment: Experiment) -> None:
        with self.lock:
            experiment.state = "ACTIVE"
            for trial in experiment.trials:
                if trial.state == "PAUSED":
                    trial.state = "ACTIVE"
            self.schedule()

    def preempt(self, trial: Trial) -> None:
        """Asks a trial to stop; one that has not met its rendezvous is killed instead."""
        allocation = trial.allocation
        if allocation is None:
            return
        if not allocation.ready:
            threading.Thread(target=allocation.kill, daemon=True).start()
            return
        with trial.changed:
            allocation.preempted = True
            trial.changed.notify_all()

    def fail(self, experiment: Experiment, reason: str) -> None:
        """The experiment is in error: every trial is killed."""
        experiment.state, experiment.failure = "ERROR", reason
        for trial in experiment.trials:
            if trial.state not in ENDED:
                trial.state = "STOPPING_ERROR" if trial.allocation else "ERROR"
                if trial.allocation:
                    threading.Thread(target=trial.allocation.kill, daemon=True).start()
                self._changed(trial)

    # -- searchers --------------------------------------------------------------------------------

    def act(self, experiment: Experiment, actions: list[Action]) -> None:
        """Does what a search runner has decided."""
        self._act(experiment, actions)
        self.schedule()
        self._finish(experiment)

    def _act(self, experiment: Experiment, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Create):
                self._create_trial(experiment, action)
                continue
            if isinstance(action, Shutdown):
                self._shut_down(experiment, action)
                continue
            trial = experiment.trials[action.number]
            if isinstance(action, Stop):
                if trial.state in ("ACTIVE", "PAUSED"):  # no signal is sent for it
                    trial.state = "STOPPING_COMPLETED" if trial.allocation else "COMPLETED"
            elif isinstance(action, ValidateAfter):
                trial.operation, trial.operation_completed = action.length, False
            elif isinstance(action, Close):
                trial.closed = True
                if trial.state == "ACTIVE" and trial.operation_completed:
                    trial.state = "STOPPING_COMPLETED" if trial.allocation else "COMPLETED"
                    if trial.state in ENDED:  # it had left before
                        self._act(experiment, experiment.method.exited(trial.number, False))
            self._changed(trial)

    def _shut_down(self, experiment: Experiment, action: Shutdown) -> None:
        """Trials that still run are asked to stop."""
        experiment.failure = "the searcher has failed" if action.failure else ""
        for trial in experiment.trials:
            if trial.state not in ENDED:
                trial.state = "STOPPING_COMPLETED" if trial.allocation else "COMPLETED"
                self.preempt(trial)

    def _finish(self, experiment: Experiment) -> None:
        """The experiment has ended with its last trial, if no other is to come."""
        trials, finished = experiment.trials, experiment.method.finished
        if (
            experiment.state != "ACTIVE"
            or not finished
            or any(t.state not in ENDED for t in trials)
        ):
            return
        failed = bool(experiment.failure) or all(t.state == "ERROR" for t in trials)
        experiment.state = "ERROR" if failed else "COMPLETED"

    def _create_trial(self, experiment: Experiment, wanted: Create) -> None:
        identity = len(self._trials) + 1
        task = f"{experiment.id}.{uuid.uuid4()}"
        hparams = wanted.hparams if wanted.hparams is not None else next(experiment.draws)
        trial = Trial(identity, wanted.number, task, hparams, 1000 + identity)
        trial.state = experiment.state
        trial.warm_start = experiment.config["searcher"].get("source_checkpoint_uuid")
        experiment.trials.append(trial)
        self._trials[identity] = (experiment, trial)

    def validated(self, experiment: Experiment, trial: Trial, metrics: Mapping[str, Any]) -> None:
        """The searcher hears of a validation, before the database does."""
        try:
            self._act(experiment, experiment.method.validated(trial.number, metrics))
        except SearcherFailed as error:
            self.fail(experiment, str(error))
        self.schedule()

    def completed_operation(self, experiment: Experiment, trial: Trial, metric: Any) -> None:
        trial.operation_completed = True
        try:
            self._act(experiment, experiment.method.completed(trial.number, metric))
        except SearcherFailed as error:
            self.fail(experiment, str(error))
        self.schedule()

    # -- slots ------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Starts what has work and fits."""
        for experiment, trial in list(self._trials.values()):
            if self._closing or not trial.wants_work:
                continue
            slots = self._fit(int(experiment.config["resources"]["slots_per_trial"]))
            if slots:
                self._start(experiment, trial, slots)

    def _fit(self, wanted: int) -> list[tuple[int, int]]:
        """(agent, slots) of each container; on one agent where that is possible."""
        for agent, free in enumerate(self._free):
            if free >= wanted:
                return [(agent, wanted)]
        if sum(self._free) == wanted:
            return [(agent, free) for agent, free in enumerate(self._free) if free]
        return []

    def _start(self, experiment: Experiment, trial: Trial, slots: list[tuple[int, int]]) -> None:
        trial.runs += 1
        identity = f"{trial.task}.{trial.runs}"
        places = [self.root / f"{trial.id}-{trial.runs}-{rank}" for rank in range(len(slots))]
        containers = [
            Container(f"{identity}:{rank}", place, self.storage)
            for rank, place in enumerate(places)
        ]
        allocation = Allocation(identity, trial.runs, f"token-{identity}", containers)
        trial.allocation = allocation
        ports = _free_ports(3)
        for rank, (agent, count) in enumerate(slots):
            self._free[agent] -= count
            environment = self._environment(experiment, trial, allocation, agent, count, ports)
            environment |= {"DET_CONTAINER_ID": f"c{rank}", "DET_RESOURCES_ID": str(rank)}
            containers[rank].start(
                environment,
                lambda line: self._logged(experiment, trial, line),
                lambda container: self._exited(experiment, trial, allocation, container, slots),
            )
        self._changed(trial)

    def _environment(
        self,
        experiment: Experiment,
        trial: Trial,
        allocation: Allocation,
        agent: int,
        slots: int,
        ports: list[int],
    ) -> dict[str, str]:
        """What master and agent put into a container's environment."""
        latest = trial.latest_checkpoint
        uuid_ = latest["uuid"] if latest else trial.warm_start
        steps = latest["metadata"].get("steps_completed", 0) if latest else 0
        host, port = self.url.removeprefix("http://").split(":")
        variables = experiment.config["environment"].get("environment_variables") or []
        if isinstance(variables, Mapping):
            variables = variables.get("cpu") or []
        given = dict(variable.split("=", 1) for variable in variables)
        own = {
            "DET_MASTER": self.url, "DET_MASTER_HOST": host, "DET_MASTER_ADDR": host,
            "DET_MASTER_PORT": port, "DET_CLUSTER_ID": "standin", "DET_AGENT_ID": f"agent-{agent}",
            "DET_SLOT_IDS": json.dumps(list(range(slots))), "DET_TASK_ID": trial.task,
            "DET_ALLOCATION_ID": allocation.identity, "DET_SESSION_TOKEN": allocation.token,
            "DET_USER": "determined", "DET_USER_TOKEN": "user-token",
            "DET_TASK_TYPE": "TRIAL", "DET_USE_TLS": "false",
            "DET_RESOURCES_TYPE": "docker-container", "DET_TRIAL_ID": str(trial.id),
            "DET_EXPERIMENT_ID": str(experiment.id), "DET_TRIAL_RUN_ID": str(trial.runs),
            "DET_TRIAL_SEED": str(trial.seed), "DET_STEPS_COMPLETED": str(steps),
            "DET_EXPERIMENT_CONFIG": json.dumps(experiment.config),
            "DET_HPARAMS": json.dumps(trial.hparams),
            "C10D_PORT": str(ports[0]), "INTER_TRAIN_PROCESS_COMM_PORT_1": str(ports[1]),
            "INTER_TRAIN_PROCESS_COMM_PORT_2": str(ports[2]),
        }  # fmt: skip
        return given | own | ({"DET_LATEST_CHECKPOINT": uuid_} if uuid_ else {})

    def _logged(self, experiment: Experiment, trial: Trial, line: str) -> None:
        trial.log.append(line)
        if '"log_policies":' in line:
            return  # the configuration itself, in which every pattern would find itself
        for policy in experiment.config.get("log_policies") or []:
            if re.search(policy["pattern"], line) and _action(policy) == "cancel_retries":
                trial.no_retries = True

    def _exited(
        self,
        experiment: Experiment,
        trial: Trial,
        allocation: Allocation,
        container: Container,
        slots: list[tuple[int, int]],
    ) -> None:
        with self.lock:
            code = container.code or 0
            if allocation.code is None and (code or container is allocation.containers[0]):
                allocation.code = code
            running = [c for c in allocation.containers if c.code is None]
            working = [c for c in running if c.identity[-1] not in allocation.daemons]
            if running and (allocation.code or not working):
                for other in running:
                    threading.Thread(target=other.kill, daemon=True).start()
            if running or allocation.ended:
                return  # the last container to be heard of may not be the last that ended
            allocation.ended = True
            for agent, count in slots:
                self._free[agent] += count
            trial.allocation = None
            trial.codes.append(allocation.code or 0)
            trial.state = next_state(trial, allocation, experiment.config["max_restarts"])
            if trial.state in ENDED:
                failed = trial.state == "ERROR"
                self._act(experiment, experiment.method.exited(trial.number, failed))
            self.schedule()
            self._finish(experiment)
            self._changed(trial)

    def _changed(self, trial: Trial) -> None:
        with trial.changed:
            trial.changed.notify_all()

    def close(self) -> None:
        with self.lock:
            self._closing = True
            allocations = [trial.allocation for _, trial in self._trials.values()]
        for allocation in allocations:
            if allocation is not None:
                allocation.kill()


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """The defaults that the master fills in and that somebody reads."""
    config = {
        "max_restarts": 5,
        "hyperparameters": {},
        "environment": {},
        "log_policies": [],
    } | config
    config["resources"] = {"slots_per_trial": 1} | (config.get("resources") or {})
    config["searcher"] = {"smaller_is_better": True} | config["searcher"]
    config.setdefault("checkpoint_storage", {"type": "shared_fs", "host_path": "/tmp"})
    config.setdefault("reproducibility", {"experiment_seed": 17})
    return config


def _action(policy: Mapping[str, Any]) -> str:
    action = policy["action"]
    return action["type"] if isinstance(action, Mapping) else action


def _tar(files: list[dict[str, Any]]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in files:
            content = base64.b64decode(file.get("content") or "")
            entry = tarfile.TarInfo(file["path"])
            entry.mode = int(file.get("mode", 0o644))
            entry.type = bytes([int(file.get("type", ord("0")))])
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return base64.b64encode(buffer.getvalue()).decode()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports
