"""Bytes of checkpoints, and how many a run writes."""

import pytest
from memory_runs import plain_shape

from det_files.memory.checkpoint import checkpoint_bytes, checkpoints_of
from det_files.memory.runs import Precision, Run
from det_files.memory.zero import Zero

BFLOAT16 = Precision(2, 2, masters=True)


@pytest.mark.parametrize(
    ("stage", "expected"), [(1, 2 * 2 + 12), (2, 2 * 2 + 12), (3, 2 + 12), (None, 2 + 8)]
)
def test_full_tuning_saves_weights_masters_and_states(stage: int | None, expected: int) -> None:
    run = Run(Zero(stage), 4, BFLOAT16)
    assert checkpoint_bytes(plain_shape(1000), run, adapter=False) == 1000 * expected


def test_an_adapter_is_saved_without_its_base() -> None:
    run = Run(Zero(2), 4, BFLOAT16)
    found = checkpoint_bytes(plain_shape(10, 10**6), run, adapter=True)
    assert found == 10 * (2 + 2 + 12)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"max_steps": 100, "save_steps": 20, "save_strategy": "steps"}, 5),
        ({"max_steps": 100, "save_steps": 30, "save_strategy": "steps"}, 4),
        ({"max_steps": 100, "save_steps": 0.5, "save_strategy": "steps"}, 2),
        ({"max_steps": 100, "save_strategy": "no"}, 0),
        ({"num_train_epochs": 3, "save_strategy": "epoch"}, None),
    ],
)
def test_checkpoints_of_a_run(training: dict[str, object], expected: int | None) -> None:
    assert checkpoints_of(training) == expected
