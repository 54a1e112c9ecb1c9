"""The estimate of a run: parts add up, and what fits is found."""

import dataclasses

import pytest
from memory_runs import plain_shape, run_args

from det_files.memory.estimate import (
    GIBIBYTE,
    PARTS,
    estimate_run,
    fewest_slots,
    largest_micro_batch,
)
from det_files.memory.fitting import fitting
from det_files.memory.shape import Parameter

SHAPE = plain_shape(10**6, 10**7, device="cpu")
STAGE_2 = {"stage": 2, "reduce_bucket_size": 1000}


@pytest.mark.parametrize("zero", [None, {"stage": 1}, STAGE_2, {"stage": 3}])
def test_parts_are_those_of_the_moment_at_the_peak(zero: dict[str, object] | None) -> None:
    found = estimate_run(SHAPE, run_args(zero=zero, slots=2))
    assert set(found.device) == set(PARTS)
    assert found.device_bytes == max(found.moments.values()) == found.moments[found.peak]
    assert found.resting_bytes <= found.device_bytes


def test_on_a_cpu_what_would_be_the_devices_lies_in_host_memory() -> None:
    found = estimate_run(SHAPE, run_args())
    assert found.on_cpu
    assert found.device["margin"] == 0
    assert found.host_bytes == found.device_bytes


def test_a_gpu_has_a_margin_of_a_twentieth_and_a_gibibyte() -> None:
    found = estimate_run(dataclasses.replace(SHAPE, device="cuda"), run_args())
    assert not found.on_cpu
    rest = found.device_bytes - found.device["margin"]
    assert found.device["margin"] == pytest.approx(rest / 20 + GIBIBYTE, abs=1)


def test_slots_and_micro_batch_are_the_arguments_own_unless_they_are_given() -> None:
    chosen = run_args(zero=STAGE_2, slots=4, per_device_train_batch_size=3)
    found = estimate_run(SHAPE, chosen)
    assert (found.slots, found.micro_batch) == (4, 3)
    other = estimate_run(SHAPE, chosen, slots=8, micro_batch=5)
    assert (other.slots, other.micro_batch) == (8, 5)
    assert other.resting["optimizer"] == found.resting["optimizer"] / 2


def test_the_largest_micro_batch_fits_and_one_more_row_does_not() -> None:
    chosen = run_args(zero=STAGE_2, slots=2)
    limit = estimate_run(SHAPE, chosen, micro_batch=60_000).host_bytes
    found = largest_micro_batch(SHAPE, chosen, limit)
    assert estimate_run(SHAPE, chosen, micro_batch=found).host_bytes <= limit
    assert estimate_run(SHAPE, chosen, micro_batch=found + 1).host_bytes > limit
    assert largest_micro_batch(SHAPE, chosen, 10**6) == 0


def test_the_fewest_slots_fit_and_one_less_does_not() -> None:
    small = {"stage3_max_reuse_distance": 10, "reduce_bucket_size": 10**7}
    big = plain_shape(parameters=(Parameter((10**7,), 100, trained=True),), device="cuda")
    chosen = run_args(zero={"stage": 3} | small)
    limit = 4 * GIBIBYTE
    found = fewest_slots(big, chosen, limit)
    assert found is not None and found > 1
    assert estimate_run(big, chosen, slots=found).device_bytes <= limit
    assert estimate_run(big, chosen, slots=found - 1).device_bytes > limit
    assert fewest_slots(big, run_args(), limit) is None


def test_what_fits_is_said_with_checkpointing_and_without() -> None:
    found = fitting(SHAPE, run_args(zero=STAGE_2), 10**9)
    assert found["fits"]
    assert not found["checkpointing"]
    with_it, without = found["with_checkpointing"], found["without_checkpointing"]
    assert with_it["largest_micro_batch"] >= without["largest_micro_batch"] > 0
    assert with_it["fewest_slots"] == 1


def test_the_other_way_of_checkpointing_is_told_beside_the_runs_own() -> None:
    found = estimate_run(SHAPE, run_args())
    assert found.activations_without == 7 + 10 * 100
    assert found.activations_with_checkpointing == 7 + 10 * 10


def test_what_is_not_counted_is_noted() -> None:
    found = estimate_run(SHAPE, run_args(optim="galore_adamw"))
    assert any("galore_adamw" in note for note in found.notes)
