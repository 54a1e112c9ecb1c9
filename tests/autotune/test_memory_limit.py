"""Running out of memory is recorded where the searcher measures, and is an error elsewhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import determined
import pytest
import torch
from determined import core

from conftest import ROOT
from det_files.args import RunArgs
from det_files.autotune.memory_limit import out_of_memory_is_a_result
from det_files.experiment import load_experiment
from det_files.validate import check_experiment

TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB."


def arguments(metric: str, trial_dir: Path | None) -> RunArgs:
    path = ROOT / "experiments/smollm2_135m_ds2.yaml"
    args = check_experiment(load_experiment(path), context=ROOT)
    facts = dataclasses.replace(args.facts, searcher={"metric": metric}, trial_dir=trial_dir)
    return dataclasses.replace(args, facts=facts)


class Context:
    """Of a cluster's trial with so many ranks, or off-cluster."""

    def __init__(self, ranks: int, on_cluster: bool) -> None:
        self.info = object() if on_cluster else None
        self.distributed = type("Distributed", (), {"size": ranks})
        self.train = self
        self.reported: list[Any] = []

    def report_early_exit(self, reason: Any) -> None:
        self.reported.append(reason)


def run(args: RunArgs, context: Any, error: Exception) -> BaseException:
    with pytest.raises(Exception) as raised, out_of_memory_is_a_result(args, context):
        raise error
    return raised.value


def test_off_cluster_a_file_says_so(tmp_path: Path) -> None:
    error = torch.OutOfMemoryError(TEXT)
    assert run(arguments("throughput", tmp_path), Context(2, False), error) is error
    assert (tmp_path / "out_of_memory").read_text() == f"{TEXT}\n"


def test_on_a_cluster_the_exit_is_reported_and_all_ranks_end() -> None:
    error, context = torch.OutOfMemoryError(TEXT), Context(2, True)
    assert run(arguments("throughput", None), context, error) is error
    assert context.reported == [core.EarlyExitReason.INVALID_HP]
    alone = run(arguments("throughput", None), Context(1, True), error)
    assert isinstance(alone, determined.InvalidHP)


def test_elsewhere_it_is_an_error_like_others(tmp_path: Path) -> None:
    context = Context(1, True)
    for metric, error in (
        ("eval_loss", torch.OutOfMemoryError(TEXT)),
        ("throughput", ValueError("x")),
    ):
        assert run(arguments(metric, tmp_path), context, error) is error
    assert not list(tmp_path.iterdir()) and context.reported == []
