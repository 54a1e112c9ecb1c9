"""The `custom` searcher of up to 0.37: somebody else's program decides, through two routes.

As the master's `pkg/searcher/{custom_search,custom_searcher_events_queue}.go` and
`GetSearcherEvents`/`PostSearcherOperations` of `internal/api_experiment.go`: what happens to the
experiment's trials is put into a queue of events, and operations are taken in answer to one of
them, which removes it and all before it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any

from cluster.standin.routes import Refused, route
from cluster.standin.searchers import (
    Action,
    Close,
    Create,
    Method,
    Shutdown,
    ValidateAfter,
)

EXPERIMENT = r"/api/v1/experiments/(\d+)"
_POLL_S = 60


class CustomSearch(Method):
    """Events for a search runner, and the actions that its operations mean.

    The runner names trials by request ids of its own.
    """

    def __init__(self) -> None:
        super().__init__(0, 0, None)
        self.events: list[dict[str, Any]] = []
        self.progress = 0.0
        self.changed = threading.Condition()
        self._count = 0
        self._requests: list[str] = []  # a trial's request id, by its number
        self._lengths: dict[int, int] = {}
        self.finished = False

    def _enqueue(self, kind: str, **said: Any) -> None:
        with self.changed:
            self._count += 1
            self.events.append({"id": self._count, kind: said})
            self.changed.notify_all()

    def start(self) -> list[Action]:
        self._enqueue("initialOperations")
        return []

    def progressed(self, number: int, progress: float) -> None:
        request = self._requests[number]
        self._enqueue("trialProgress", requestId=request, partialUnits=progress)

    def completed(self, number: int, metric: Any) -> list[Action]:
        self._enqueue(
            "validationCompleted",
            requestId=self._requests[number],
            metric=_as_protobuf(metric),
            validateAfterLength=str(self._lengths[number]),
        )
        return []

    def exited(self, number: int, failed: bool) -> list[Action]:
        request = self._requests[number]
        if failed:
            reason = "EXITED_REASON_UNSPECIFIED"
            self._enqueue("trialExitedEarly", requestId=request, exitedReason=reason)
        self._enqueue("trialClosed", requestId=request)
        return []

    def wait(self, timeout_s: float) -> list[dict[str, Any]]:
        """All events that no operations have answered, as soon as there is one."""
        with self.changed:
            self.changed.wait_for(lambda: self.events, timeout_s)
            return list(self.events)

    def take(self, operations: list[dict[str, Any]], answered: int) -> list[Action]:
        """The actions that operations mean, posted in answer to the event of that id."""
        actions = [action for operation in operations for action in self._action(operation)]
        with self.changed:
            if answered not in [event["id"] for event in self.events]:
                raise Refused(500, f"event {answered} not found")
            self.events = [event for event in self.events if event["id"] > answered]
        for action in actions:
            if isinstance(action, Create):
                self._enqueue("trialCreated", requestId=self._requests[action.number])
        return actions

    def _action(self, operation: Mapping[str, Any]) -> list[Action]:
        ((kind, said),) = operation.items()
        if kind == "createTrial":
            self._requests.append(said["requestId"])
            return [Create(len(self._requests) - 1, json.loads(said["hyperparams"]))]
        if kind == "trialOperation":
            said = said["validateAfter"]
            number, length = self._number(said), int(said["length"])
            self._lengths[number] = length
            return [ValidateAfter(number, length)]
        if kind == "closeTrial":
            return [Close(self._number(said))]
        if kind == "shutDown":
            self.finished = True
            return [Shutdown(failure=bool(said.get("failure")))]
        assert kind == "setSearcherProgress", kind
        self.progress = float(said["progress"])
        return []

    def _number(self, said: Mapping[str, Any]) -> int:
        return self._requests.index(said["requestId"])


def _as_protobuf(value: Any) -> Any:
    """JSON that has been through google.protobuf.Value: every number a double, whole ones bare."""
    if isinstance(value, Mapping):
        return {key: _as_protobuf(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@route("GET", EXPERIMENT + "/searcher_events")
def searcher_events(master: Any, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    """Waits up to a minute for an event; an experiment that is not active has one of its own."""
    experiment = master.cluster.experiments[int(match[1])]
    if experiment.state != "ACTIVE":
        inactive = {"experimentState": f"STATE_{experiment.state}"}
        return {"searcherEvents": [{"id": -1, "experimentInactive": inactive}]}
    return {"searcherEvents": _custom(experiment).wait(_POLL_S)}


@route("POST", EXPERIMENT + "/searcher_operations")
def searcher_operations(master: Any, match: re.Match[str], query: dict[str, str], body: Any) -> Any:
    experiment = master.cluster.experiments[int(match[1])]
    method, event = _custom(experiment), body["triggeredByEvent"]["id"]
    with master.cluster.lock:
        actions = method.take(body.get("searcherOperations") or [], int(event))
        master.cluster.act(experiment, actions)


def _custom(experiment: Any) -> CustomSearch:
    if not isinstance(experiment.method, CustomSearch):
        raise Refused(400, f"the searcher of experiment {experiment.id} is not custom")
    return experiment.method
