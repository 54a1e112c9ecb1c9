"""The stand-in refuses what the real master refuses; no containers are started here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from cluster.standin.master import OPERATIONS, Master
from cluster.standin.requests_log import Fault

AS_USER = {"Authorization": "Bearer user-token"}


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    """A cluster without slots, so that its one trial waits for ever."""
    running = Master(tmp_path / "c", [0])
    length = {"max_length": {"batches": 4}} if OPERATIONS else {}
    config = {"name": "x", "entrypoint": "true", "searcher": {"name": "single", "metric": "m"}}
    config["searcher"] |= length
    made = requests.post(
        f"{running.url}/api/v1/experiments",
        json={"config": yaml.safe_dump(config), "modelDefinition": []},
        headers=AS_USER,
    )
    assert made.status_code == 200
    yield running
    running.close()


def report(master: Master, step: int, value: Any, run: int = 0, group: str = "validation") -> int:
    said = {
        "trialId": 1, "trialRunId": run, "stepsCompleted": step,
        "metrics": {"avgMetrics": {"m": value}},
    }  # fmt: skip
    url = f"{master.url}/api/v1/trials/1/metrics"
    return requests.post(url, json={"group": group, "metrics": said}, headers=AS_USER).status_code


def test_metrics(master: Master) -> None:
    trial = master.cluster.find(1)[1]
    assert report(master, 2, 1.5) == 200
    assert report(master, 2, 1.5) == 200  # the same again
    assert report(master, 2, 1.6) == 400  # another value of the same step
    assert report(master, 2, 1.6, group="training") == 200
    assert report(master, 4, 1.0, run=7) == 400  # of a run that is not the trial's
    assert trial.rows("validation", "m") == {2: 1.5} and trial.latest_validation == 2


def test_a_later_run_takes_back_what_it_trains_again(master: Master) -> None:
    trial = master.cluster.find(1)[1]
    for step in (1, 2, 3):
        assert report(master, step, float(step), group="training") == 200
    assert report(master, 3, 9.0) == 200
    trial.runs = 1
    assert report(master, 2, 2.5, run=1, group="training") == 200
    assert trial.rows("training", "m") == {1: 1.0, 2: 2.5}
    assert trial.rows("validation", "m") == {}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_validation_that_is_no_number_ends_the_experiment(master: Master, value: str) -> None:
    assert report(master, 2, value) == 200
    assert master.cluster.experiments[1].state == "ERROR"


def test_without_a_token_nothing_is_told(master: Master) -> None:
    for headers in ({}, {"Grpc-Metadata-x-allocation-token": "Bearer token-of-one-that-ended"}):
        answer = requests.get(f"{master.url}/api/v1/trials/1", headers=headers)
        assert answer.status_code == 401
    assert requests.get(f"{master.url}/info").status_code == 200
    assert requests.get(f"{master.url}/api/v1/trials/9", headers=AS_USER).status_code == 404
    assert requests.get(f"{master.url}/api/v1/experiments/9", headers=AS_USER).status_code == 404
    assert requests.get(f"{master.url}/api/v1/no/such", headers=AS_USER).status_code == 404


def test_faults_and_absence(master: Master) -> None:
    master.faults.add(Fault("GET", "/info", times=1, status=503))
    assert requests.get(f"{master.url}/info").status_code == 503
    assert requests.get(f"{master.url}/info").status_code == 200
    master.go_away(0.1)
    assert requests.get(f"{master.url}/info").status_code == 200
    statuses = [request.status for request in master.log.matching("GET", "/info")]
    assert statuses == [503, 200, 200]
