"""A trial's environment and command; ports."""

import os
import socket
import sys
from pathlib import Path

from det_files.local.process_group import free_ports, launch_command, trial_environment

BASE = {"slots": 2, "threads": 4, "ports": (11000, 11001)}


def test_on_the_cpu_the_ranks_share_the_cores() -> None:
    env = trial_environment({}, shell={"PATH": "/bin"}, gpus=0, **BASE)
    assert env["DS_ACCELERATOR"] == "cpu"
    assert env["LOCAL_SIZE"] == "2"
    assert env["OMP_NUM_THREADS"] == "4"
    assert env["TOKENIZERS_PARALLELISM"] == "false"
    assert env["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/bin"
    assert env["INTER_TRAIN_PROCESS_COMM_PORT_1"] == "11000"
    assert env["INTER_TRAIN_PROCESS_COMM_PORT_2"] == "11001"


def test_with_gpus_nothing_of_the_cpu_is_set() -> None:
    env = trial_environment({}, shell={}, gpus=2, **BASE)
    assert not {"DS_ACCELERATOR", "LOCAL_SIZE", "CUDA_VISIBLE_DEVICES"} & set(env)
    env = trial_environment({}, shell={}, gpus=4, devices=["2", "3"], **BASE)
    assert env["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_the_experiments_variables_win_over_the_shells() -> None:
    shell = {"A": "shell", "B": "shell", "OMP_NUM_THREADS": "3", "TOKENIZERS_PARALLELISM": "true"}
    env = trial_environment({"A": "experiment"}, shell=shell, gpus=0, **BASE)
    assert (env["A"], env["B"]) == ("experiment", "shell")
    assert (env["OMP_NUM_THREADS"], env["TOKENIZERS_PARALLELISM"]) == ("3", "true")


def test_free_ports_are_free_and_different() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    sockets = [socket.socket() for _ in ports]
    for port, one in zip(ports, sockets, strict=True):
        one.bind(("", port))
    for one in sockets:
        one.close()


def test_a_port_in_use_is_not_free(monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (other,) = free_ports(1)
        monkeypatch.setattr("random.SystemRandom.sample", lambda *_: [port, other])
        assert free_ports(1) == [other]


def test_two_commands_differ_in_their_rendezvous_only() -> None:
    arguments = ("det_files.run_clm", Path("/run/trials/1"), 2, Path("/run/logs"))
    first, second = launch_command(*arguments), launch_command(*arguments)
    assert [
        i for i, words in enumerate(zip(first, second, strict=True)) if words[0] != words[1]
    ] == [first.index("--rdzv-id") + 1]
    assert first[-6:] == [
        "-m",
        "det_files.run_clm",
        "--experiment",
        "/run/trials/1/experiment.yaml",
        "--trial_dir",
        "/run/trials/1",
    ]
