"""Experiments, trials and slots of the stand-in: what the master decides, without HTTP."""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
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
from cluster.standin.searchers import (
    Action,
    Close,
    Create,
    Method,
    SearcherFailed,
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
        draws = list(_draws(config))
        method = make_method(config["searcher"], len(draws), self.operations)
        with self.lock:
            identity = len(self.experiments) + 1
            experiment = Experiment(identity, config, _tar(files), iter(draws), method)
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

    def _act(self, experiment: Experiment, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Create):
                self._create_trial(experiment, action.number)
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
            self._changed(trial)

    def _create_trial(self, experiment: Experiment, number: int) -> None:
        identity = len(self._trials) + 1
        task = f"{experiment.id}.{uuid.uuid4()}"
        trial = Trial(identity, number, task, next(experiment.draws), 1000 + identity)
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
        value = float(metric) if isinstance(metric, int | float) else 0.0
        self._act(experiment, experiment.method.completed(trial.number, value))
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
            "DET_USER": "determined", "DET_TASK_TYPE": "TRIAL", "DET_USE_TLS": "false",
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
            if experiment.state == "ACTIVE" and all(t.state in ENDED for t in experiment.trials):
                errors = [t for t in experiment.trials if t.state == "ERROR"]
                experiment.state = "ERROR" if len(errors) == len(experiment.trials) else "COMPLETED"
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


def _draws(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Hyperparameters of every trial that the searcher may create."""
    rng, searcher = random.Random(17), config["searcher"]
    if searcher["name"] != "grid":
        for _ in range(searcher.get("max_trials", 1)):
            yield _draw(config["hyperparameters"], lambda spec: _sample(spec, rng))
        return
    axes: list[list[Any]] = []

    def collect(spec: Mapping[str, Any]) -> Any:
        axes.append(_grid(spec))
        return None

    _draw(config["hyperparameters"], collect)
    for point in itertools.product(*axes):
        values = iter(point)
        yield _draw(config["hyperparameters"], lambda spec, values=values: next(values))


def _draw(tree: Any, choose: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    if "type" in tree:
        return tree["val"] if tree["type"] == "const" else choose(tree)
    return {name: _draw(value, choose) for name, value in tree.items()}


def _sample(spec: Mapping[str, Any], rng: random.Random) -> Any:
    if spec["type"] == "categorical":
        return rng.choice(spec["vals"])
    if spec["type"] == "int":
        return rng.randint(spec["minval"], spec["maxval"])
    value = rng.uniform(spec["minval"], spec["maxval"])
    return spec.get("base", 10.0) ** value if spec["type"] == "log" else value


def _grid(spec: Mapping[str, Any]) -> list[Any]:
    if spec["type"] == "categorical":
        return list(spec["vals"])
    low, high, count = spec["minval"], spec["maxval"], spec["count"]
    points = [low + (high - low) * i / max(count - 1, 1) for i in range(count)]
    if spec["type"] == "int":
        return [round(point) for point in points]
    return [spec.get("base", 10.0) ** p if spec["type"] == "log" else p for p in points]


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
