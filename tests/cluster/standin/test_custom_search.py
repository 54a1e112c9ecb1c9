"""The custom searcher's two routes, asked as a search runner asks them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from cluster.standin.custom_search import CustomSearch
from cluster.standin.master import OPERATIONS, Master
from cluster.standin.searchers import Close, Create, Shutdown, ValidateAfter
from cluster.standin.test_master import AS_USER

CREATE = {"createTrial": {"requestId": "a", "hyperparams": json.dumps({"x": 1})}}
VALIDATE = {"trialOperation": {"validateAfter": {"requestId": "a", "length": "4"}}}
CLOSE = {"closeTrial": {"requestId": "a"}}


def kinds(search: CustomSearch) -> list[str]:
    return [next(key for key in event if key != "id") for event in search.wait(0)]


def test_operations_are_actions_and_events_wait_for_them() -> None:
    search = CustomSearch()
    assert search.start() == [] and kinds(search) == ["initialOperations"]
    assert search.take([CREATE, VALIDATE], 1) == [Create(0, {"x": 1}), ValidateAfter(0, 4)]
    assert kinds(search) == ["trialCreated"]
    search.progressed(0, 2.0)
    assert search.completed(0, {"m": 3.0, "n": 2.5}) == []
    *_, event = search.wait(0)
    # Whole numbers come out of protobuf's doubles as whole numbers.
    assert event == {
        "id": 4,
        "validationCompleted": {
            "requestId": "a", "metric": {"m": 3, "n": 2.5}, "validateAfterLength": "4",
        },
    }  # fmt: skip
    assert isinstance(event["validationCompleted"]["metric"]["m"], int)
    assert search.take([CLOSE], 3) == [Close(0)]
    assert kinds(search) == ["validationCompleted"]  # the answered one and those before are gone
    search.exited(0, failed=True)
    assert kinds(search) == ["validationCompleted", "trialExitedEarly", "trialClosed"]
    assert not search.finished
    shutdown = {"shutDown": {"cancel": False, "failure": True}}
    assert search.take([{"setSearcherProgress": {"progress": 0.5}}, shutdown], 6) == [
        Shutdown(failure=True)
    ]
    assert search.finished and search.progress == 0.5 and search.wait(0) == []


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    """A cluster without slots, with an experiment whose searcher is custom."""
    running = Master(tmp_path / "c", [0])
    config = {"name": "x", "entrypoint": "true", "searcher": {"name": "custom", "metric": "m"}}
    requests.post(
        f"{running.url}/api/v1/experiments",
        json={"config": yaml.safe_dump(config), "modelDefinition": []},
        headers=AS_USER,
    ).raise_for_status()
    yield running
    running.close()


@pytest.mark.skipif(not OPERATIONS, reason="Determined 0.38 has no custom searchers")
def test_the_routes(master: Master) -> None:
    url = f"{master.url}/api/v1/experiments/1"

    def events() -> list[dict[str, Any]]:
        return requests.get(f"{url}/searcher_events", headers=AS_USER).json()["searcherEvents"]

    def post(operations: list[dict[str, Any]], event: int) -> int:
        body = {"searcherOperations": operations, "triggeredByEvent": {"id": event}}
        return requests.post(f"{url}/searcher_operations", json=body, headers=AS_USER).status_code

    assert events() == [{"id": 1, "initialOperations": {}}]
    assert post([], 7) == 500  # no such event
    assert post([CREATE, VALIDATE], 1) == 200
    (trial,) = master.cluster.experiments[1].trials
    assert (trial.hparams, trial.operation, trial.state) == ({"x": 1}, 4, "ACTIVE")
    assert events() == [{"id": 2, "trialCreated": {"requestId": "a"}}]
    assert post([{"shutDown": {"cancel": False, "failure": False}}], 2) == 200
    inactive = {"experimentState": "STATE_COMPLETED"}
    assert events() == [{"id": -1, "experimentInactive": inactive}]
