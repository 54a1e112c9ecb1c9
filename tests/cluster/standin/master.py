"""The stand-in master: Determined's REST over loopback, every request recorded, faults on demand.

It answers what the `determined` package asks in a trial's life and in `det experiment create`
(`../shared/determined.md` lists it, read from the master's source). It stands in for one process of
the real one: no database, no web page, no other users.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import determined

from cluster.standin.cluster import Cluster, Experiment
from cluster.standin.requests_log import Faults, Request, RequestLog
from cluster.standin.routes import ROUTES, Refused, route
from cluster.standin.trials import Trial

# Up to 0.37 searchers hand out operations; 0.38 took them away.
OPERATIONS = tuple(map(int, determined.__version__.split(".")[:2])) < (0, 38)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    master: Master

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""


class Master:
    """A running stand-in. `cluster` decides, `log` remembers, `faults` are what goes wrong."""

    def __init__(self, root: Path, agents: list[int]) -> None:
        self.cluster = Cluster(root, agents, OPERATIONS)
        self.log, self.faults = RequestLog(), Faults()
        self._connections: set[socket.socket] = set()
        self._server = self._listen(0)
        self.port = self._server.server_address[1]
        self.url = self.cluster.url = f"http://127.0.0.1:{self.port}"

    def _listen(self, port: int) -> _Server:
        server = _Server(("127.0.0.1", port), _Handler)
        server.master = self
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def go_away(self, seconds: float) -> None:
        """Refuses connections for a while and drops those that are open."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        time.sleep(seconds)
        self._server = self._listen(self.port)

    def close(self) -> None:
        self.cluster.close()
        self._server.shutdown()
        self._server.server_close()

    def trial_of(self, identity: str | int) -> tuple[Experiment, Trial]:
        try:
            return self.cluster.find(int(identity))
        except KeyError:
            raise Refused(404, f"trial {identity} not found") from None

    def experiment_of(self, identity: str) -> Experiment:
        try:
            return self.cluster.experiments[int(identity)]
        except KeyError:
            raise Refused(404, f"experiment {identity} not found") from None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.master._connections.add(self.connection)

    def finish(self) -> None:
        self.server.master._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        master = self.server.master
        split = urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(text) if text else None
        query = dict(parse_qsl(split.query))
        fault = master.faults.take(self.command, split.path, body)
        status: int | None
        if fault is not None and fault.before:
            fault.before(body)
        if fault is not None and fault.status is not None:
            status, answer = fault.status, {"message": "a fault of the stand-in"}
        else:
            status, answer = self._answer(split.path, query, body)
        master.log.add(Request(self.command, split.path, query, body, status))
        if fault is not None:
            if fault.after:
                fault.after(body)
            time.sleep(fault.delay_s)
        encoded = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PATCH = _serve

    def _answer(self, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        for method, pattern, handler in ROUTES:
            match = pattern.fullmatch(path)
            if match and method == self.command:
                try:
                    if path not in OPEN and not self._allowed(path):
                        raise Refused(401, "not logged in")
                    return 200, handler(self.server.master, match, query, body) or {}
                except Refused as refused:
                    return refused.status, {"error": {"error": str(refused)}}
        return 404, {"error": {"error": f"the stand-in does not know {self.command} {path}"}}

    def _allowed(self, path: str) -> bool:
        if self.headers.get("Authorization") == "Bearer user-token":
            return True
        token = self.headers.get("Grpc-Metadata-x-allocation-token", "")
        identity = token.removeprefix("Bearer token-")
        try:
            self.server.master.cluster.find_allocation(identity)
        except KeyError:
            return False  # of an allocation that has ended
        return True


OPEN = ("/info", "/api/v1/master", "/api/v1/auth/login")
TRIAL, ALLOCATION = r"/api/v1/trials/(\d+)", r"/api/v1/allocations/([^/]+)"
EXPERIMENT = r"/api/v1/experiments/(\d+)"


# -- the command line ------------------------------------------------------------------------------


@route("GET", "/info|/api/v1/master")
def info(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    return {"version": determined.__version__, "cluster_id": "standin", "master_id": "standin"}


@route("POST", "/api/v1/auth/login")
def login(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    user = {"username": body["username"], "admin": False, "active": True, "id": 1}
    return {"token": "user-token", "user": user}


@route("GET", "/api/v1/me")
def me(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    return {"user": {"username": "determined", "admin": False, "active": True, "id": 1}}


@route("POST", "/api/v1/experiments")
def create(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    experiment = master.cluster.create_experiment(
        body["config"], body.get("modelDefinition") or [], body.get("activate", True)
    )
    return {"experiment": _experiment(experiment), "config": experiment.config, "warnings": []}


@route("GET", EXPERIMENT)
def experiment(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    found = master.experiment_of(match[1])
    return {"experiment": _experiment(found), "config": found.config}


@route("POST", EXPERIMENT + "/(pause|activate)")
def pause(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    found = master.experiment_of(match[1])
    (master.cluster.pause if match[2] == "pause" else master.cluster.activate)(found)


def _experiment(experiment: Experiment) -> dict[str, Any]:
    return {
        "archived": False, "config": experiment.config, "id": experiment.id, "jobId": "job",
        "name": experiment.config["name"], "numTrials": len(experiment.trials),
        "originalConfig": "", "projectId": 1, "projectOwnerId": 1,
        "searcherType": experiment.config["searcher"]["name"],
        "startTime": "2026-01-01T00:00:00Z", "state": f"STATE_{experiment.state}",
        "username": "determined",
    }  # fmt: skip


# -- a trial's start -------------------------------------------------------------------------------


@route("GET", r"/api/v1/tasks/([^/]+)/context_directory")
def context_directory(
    master: Master, match: re.Match[str], query: dict[str, str], body: Any
) -> Any:
    identity = int(match[1].split(".")[0])
    return {"b64Tgz": master.cluster.experiments[identity].context}


@route("POST", ALLOCATION + "/acceleratorData")
def accelerators(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    return {}


@route("GET", ALLOCATION + r"/resources/(\d+)/rendezvous")
def rendezvous(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    """Blocks until every container of the allocation watches."""
    _, trial, allocation = _allocation(master, match[1])
    rank = int(match[2])
    with trial.changed:
        allocation.watching.add(rank)
        trial.changed.notify_all()
        count = len(allocation.containers)
        if not trial.changed.wait_for(lambda: len(allocation.watching) == count, 120):
            raise Refused(504, "the other containers did not come")
        allocation.ready = True
    slots = int(_experiment_of(master, trial).config["resources"]["slots_per_trial"]) // count
    addresses = ["127.0.0.1"] * count
    return {"rendezvousInfo": {"addresses": addresses, "rank": rank, "slots": [slots] * count}}


@route("POST", ALLOCATION + r"/resources/(\d+)/daemon")
def daemon(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    _, _, allocation = _allocation(master, match[1])
    allocation.daemons.add(match[2])


@route("POST", "/api/v1/runs/start")
def start(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    return {"storageId": 1}


# -- preemption ------------------------------------------------------------------------------------


@route("GET", ALLOCATION + "/signals/preemption")
def preemption(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    _, trial, allocation = _allocation(master, match[1])
    with trial.changed:
        trial.changed.wait_for(
            lambda: allocation.preempted or allocation is not trial.allocation,
            float(query.get("timeout_seconds", 0)),
        )
    allocation.told = allocation.preempted
    return {"preempt": allocation.preempted}


@route("POST", ALLOCATION + "/signals/ack_preemption")
def acknowledge(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    _, _, allocation = _allocation(master, match[1])
    allocation.acknowledged = True


# -- what a trial reports --------------------------------------------------------------------------


@route("POST", TRIAL + "/metrics")
def metrics(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    experiment, trial = master.trial_of(match[1])
    said, group = body["metrics"], body["group"]
    if int(said["trialRunId"]) != trial.runs:
        raise Refused(400, f"invalid trial run id, {said['trialRunId']}, current {trial.runs}")
    step = int(said["stepsCompleted"])
    row = {name: _number(value) for name, value in said["metrics"]["avgMetrics"].items()}
    with master.cluster.lock:
        if group == "validation":
            if any(isinstance(v, float) and not math.isfinite(v) for v in row.values()):
                master.cluster.fail(experiment, f"a metric is not finite: {row}")
                return {}
            if not OPERATIONS:
                master.cluster.validated(experiment, trial, row)
        # A later run's first report takes back what an earlier one had said of the same steps.
        for key, run in list(trial.run_of_metrics.items()):
            if run < trial.runs and (key[1] > step or key == (group, step)):
                del trial.metrics[key], trial.run_of_metrics[key]
        known = trial.metrics.setdefault((group, step), {})
        for name, value in row.items():
            if name in known and known[name] != value:
                raise Refused(400, f"{group} {name} at {step} is {known[name]} already")
        known.update(row)
        trial.run_of_metrics[(group, step)] = trial.runs
        if group == "validation" and experiment.config["searcher"]["metric"] in row:
            trial.latest_validation = step
    return {}


@route("POST", TRIAL + "/progress")
def progress(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    experiment, trial = master.trial_of(match[1])
    trial.progress.append(float(body["progress"]))
    experiment.method.progressed(trial.number, float(body["progress"]))


@route("POST", TRIAL + "/early_exit")
def early_exit(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    _, trial = master.trial_of(match[1])
    trial.early_exit = body["reason"]


@route("POST", TRIAL + "/runner/metadata")
def runner_metadata(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    return {}


@route("GET", r"/api/v1/runs/(\d+)/metadata")
def get_metadata(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    _, trial = master.trial_of(match[1])
    return {"metadata": trial.metadata}


@route("POST", r"/api/v1/runs/(\d+)/metadata")
def set_metadata(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    """Replaces them; a Struct of protobuf has no whole numbers."""
    _, trial = master.trial_of(match[1])
    trial.metadata = json.loads(json.dumps(body["metadata"]), parse_int=float)
    return {"metadata": trial.metadata}


@route("POST", "/api/v1/checkpoints")
def checkpoint(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    _, trial, _ = _allocation(master, body["allocationId"])
    trial.checkpoints.append(body)


@route("GET", TRIAL)
def get_trial(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    experiment, trial = master.trial_of(match[1])
    with master.cluster.lock:
        return {"trial": trial.to_json(experiment.id)}


@route("GET", TRIAL + "/checkpoints")
def trial_checkpoints(
    master: Master, match: re.Match[str], query: dict[str, str], body: Any
) -> Any:
    experiment, trial = master.trial_of(match[1])
    found = [_checkpoint(said, experiment, trial) for said in trial.checkpoints]
    return {"checkpoints": found, "pagination": {"total": len(found)}}


@route("GET", "/api/v1/checkpoints/([^/]+)")
def get_checkpoint(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    for experiment in master.cluster.experiments.values():
        for trial in experiment.trials:
            for said in trial.checkpoints:
                if said["uuid"] == match[1]:
                    return {"checkpoint": _checkpoint(said, experiment, trial)}
    raise Refused(404, f"checkpoint '{match[1]}' not found")


def _checkpoint(said: dict[str, Any], experiment: Experiment, trial: Trial) -> dict[str, Any]:
    """As `v1Checkpoint`."""
    return {
        "uuid": said["uuid"],
        "resources": said["resources"],
        "metadata": said["metadata"],
        "state": said["state"],
        "taskId": said["taskId"],
        "training": {
            "trialId": trial.id,
            "experimentId": experiment.id,
            "experimentConfig": experiment.config,
            "hparams": trial.hparams,
        },
        "reportTime": said.get("reportTime"),
    }


@route("GET", EXPERIMENT + "/searcher/best_searcher_validation_metric")
def best(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    found = master.experiment_of(match[1])
    searcher = found.config["searcher"]
    values = [v for t in found.trials for v in t.rows("validation", searcher["metric"]).values()]
    if not values:
        raise Refused(404, "no validations yet")
    return {"metric": min(values) if searcher["smaller_is_better"] else max(values)}


# -- operations, up to 0.37 ------------------------------------------------------------------------


@route("GET", TRIAL + "/searcher/operation")
def operation(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    _, trial = master.trial_of(match[1])
    with master.cluster.lock:
        length = {"validateAfter": {"length": str(trial.operation)}}
        return {"op": length, "completed": trial.operation_completed}


@route("POST", TRIAL + "/searcher/completed_operation")
def completed(master: Master, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    experiment, trial = master.trial_of(match[1])
    said = body.get("completedOperation", body)
    with master.cluster.lock:
        length = int(said["op"]["length"])
        if length != trial.operation or trial.operation_completed:
            raise Refused(400, f"expected operation {trial.operation}, got {length}")
        master.cluster.completed_operation(experiment, trial, said["searcherMetric"])


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value, value)
    return value


def _allocation(master: Master, identity: str) -> Any:
    try:
        return master.cluster.find_allocation(identity)
    except KeyError:
        raise Refused(404, f"allocation {identity} not found") from None


def _experiment_of(master: Master, trial: Trial) -> Experiment:
    return master.cluster.find(trial.id)[0]
