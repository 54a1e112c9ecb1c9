"""The estimate of a run: its parts add up."""

import dataclasses
from typing import Any

import pytest
from memory_runs import plain_shape, run_args

from det_files.memory.estimate import (
    GIBIBYTE,
    PARTS,
    estimate_run,
)
from det_files.memory.shape import Layer, Line, Stack, Trace

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


def test_a_gpu_has_a_margin_of_a_twentieth_and_two_gibibytes() -> None:
    found = estimate_run(dataclasses.replace(SHAPE, device="cuda"), run_args())
    assert not found.on_cpu
    rest = found.device_bytes - found.device["margin"]
    assert found.device["margin"] == pytest.approx(rest / 20 + 2 * GIBIBYTE, abs=1)


def test_slots_and_micro_batch_are_the_arguments_own_unless_they_are_given() -> None:
    chosen = run_args(zero=STAGE_2, slots=4, per_device_train_batch_size=3)
    found = estimate_run(SHAPE, chosen)
    assert (found.slots, found.micro_batch) == (4, 3)
    other = estimate_run(SHAPE, chosen, slots=8, micro_batch=5)
    assert (other.slots, other.micro_batch) == (8, 5)
    assert other.resting["optimizer"] == found.resting["optimizer"] / 2


def test_the_batch_counts_that_needs_most_with_padding_or_without() -> None:
    def kept(plain: float, padded: float, **data: Any) -> int:
        traces = {
            name: Trace((Stack(10, Layer(Line(), Line(0, each), Line(), Line())),))
            for name, each in (("plain", plain), ("padded", padded))
        }
        shape = dataclasses.replace(SHAPE, packs=True, **traces)
        chosen = run_args(per_device_train_batch_size=2, data=data)
        return estimate_run(shape, chosen).activations_without

    assert kept(100, 30) == kept(30, 100) == 2000
    assert kept(30, 100, packing=True) == 600  # rows end to end have no padding


def test_the_other_way_of_checkpointing_is_told_beside_the_runs_own() -> None:
    found = estimate_run(SHAPE, run_args())
    assert found.activations_without == 7 + 10 * 100
    assert found.activations_with_checkpointing == 7 + 10 * 10


def test_what_is_not_counted_is_noted() -> None:
    found = estimate_run(SHAPE, run_args(optim="galore_adamw"))
    assert any("galore_adamw" in note for note in found.notes)
