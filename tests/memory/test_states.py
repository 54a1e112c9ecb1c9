"""Model states by ZeRO stage, against numbers worked out by hand."""

import dataclasses
from typing import Any

import pytest
from memory_runs import plain_shape

from det_files.memory.runs import Precision, Run
from det_files.memory.shape import Head, Parameter
from det_files.memory.states import MOMENTS, States, gathered, resting_states, states_at
from det_files.memory.zero import Zero

BFLOAT16 = Precision(2, 2, masters=True)
# 1,000 trained and 500 frozen elements.
SHAPE = plain_shape(1000, 500)


def run(zero: Zero, slots: int = 1, precision: Precision = BFLOAT16, **changes: Any) -> Run:
    """On a CPU unless `changes` say otherwise: there are no workspaces."""
    return dataclasses.replace(Run(zero, slots, precision, on_cpu=True), **changes)


def test_one_gpu_without_deepspeed_holds_no_gradients_between_steps() -> None:
    """DistributedDataParallel's buckets are those of several ranks, or of a CPU."""
    workspaces = 64 * 2**20
    alone = run(Zero(), precision=Precision(2, 4), on_cpu=False)
    beside = dataclasses.replace(alone, slots=2)
    on_cpu = dataclasses.replace(alone, on_cpu=True)
    found = [resting_states(SHAPE, one).buffers for one in (alone, beside, on_cpu)]
    assert found == [workspaces, workspaces + 4000, 4000]
    assert states_at("loss", SHAPE, alone).buffers == workspaces


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_gpu_holds_the_workspaces_of_its_matrix_products(stage: int) -> None:
    on_cpu = run(Zero(stage))
    on_gpu = dataclasses.replace(on_cpu, on_cpu=False)
    for moment in MOMENTS:
        more = states_at(moment, SHAPE, on_gpu).buffers - states_at(moment, SHAPE, on_cpu).buffers
        assert more == 64 * 2**20
    more = resting_states(SHAPE, on_gpu).buffers - resting_states(SHAPE, on_cpu).buffers
    assert more == 64 * 2**20


def test_without_deepspeed_weights_are_float32_and_autocast_copies_matrices() -> None:
    shape = plain_shape(
        parameters=(
            dataclasses.replace(SHAPE.parameters[0], shape=(30, 30)),
            dataclasses.replace(SHAPE.parameters[0], shape=(100,)),
            SHAPE.parameters[1],
        )
    )
    chosen = run(Zero(), precision=Precision(2, 4, copies=2))
    weights = 1000 * 4 + 500 * 2
    # DDP's buckets are as large as the gradients, which are made in the backward pass.
    assert states_at("loss", shape, chosen) == States(weights + 900 * 2, 0, 8000, 4000)
    assert states_at("reduced", shape, chosen) == States(weights, 4000, 8000, 4000)
    # A later micro-batch begins with the gradients of the first.
    later = dataclasses.replace(chosen, accumulation=2)
    assert states_at("loss", shape, later) == States(weights + 900 * 2, 4000, 8000, 4000)


def test_stage_1_divides_the_optimizer_and_holds_all_gradients_at_the_end() -> None:
    chosen = run(Zero(1, reduce_bucket=100), slots=4)
    assert states_at("backward", SHAPE, chosen) == States(3000, 0, 250 * 12, 200)
    reduced = states_at("reduced", SHAPE, chosen)
    assert reduced.gradients == 1000 * 2 + 250 * 2
    # The one parameter is larger than a bucket, and reduced where it is.
    assert reduced.buffers == 100 * 2
    # The partition, and a copy in float64 of what of the largest gradient is in it.
    assert states_at("step", SHAPE, chosen) == States(3000, 250 * (2 + 8), 250 * 12, 0)
    # Of many small ones it is partition, flat copy, and float32: 2 + 2 + 4 bytes; and slices in a
    # bucket are sent as a copy.
    many = plain_shape(parameters=(Parameter((10,), 100, trained=True),))
    assert states_at("step", many, chosen).gradients == 250 * 8
    assert states_at("reduced", many, chosen).buffers == (100 + 100) * 2


def test_stage_2_holds_a_part_of_the_gradients_and_two_buckets() -> None:
    chosen = run(Zero(2, reduce_bucket=100, buckets=2), slots=4)
    reduced = states_at("reduced", SHAPE, chosen)
    assert reduced.gradients == 250 * 2
    assert reduced.buffers == (2 * 100 + 1000) * 2
    later = dataclasses.replace(chosen, accumulation=4)
    assert states_at("loss", SHAPE, later).gradients == 250 * 2


def test_an_offloaded_optimizer_leaves_one_gradient_on_the_device() -> None:
    chosen = run(Zero(2, reduce_bucket=100, offload_optimizer="cpu"), slots=4)
    step = states_at("step", SHAPE, chosen)
    assert (step.optimizer, step.gradients, step.buffers) == (0, 0, 2000)


def test_stage_3_divides_weights_and_gathers_those_that_are_near() -> None:
    zero = Zero(3, reduce_bucket=100, persistence_threshold=500, sub_group=10**9)
    zero = dataclasses.replace(zero, max_reuse_distance=400, prefetch_bucket=50)
    chosen = run(zero, slots=4)
    backward = states_at("backward", SHAPE, chosen)
    # A quarter of all, and the 500 frozen ones whole: they are below the threshold.
    assert backward.weights == (250 + 125) * 2 + 500 * 2
    assert backward.gradients == 250 * 2
    assert backward.optimizer == 250 * 12
    # 400 / 2 within reach, 50 fetched before, 100 of one module.
    assert backward.buffers == (100 + 350) * 2
    # The partitions, and the largest one's copy in float64.
    assert states_at("step", SHAPE, chosen).gradients == 250 * (2 + 8)


def test_a_trained_output_layer_has_its_gradient_first() -> None:
    tied = Head(10, 10, chunked=True, whole=False, trained=True, tied=True)
    shape = plain_shape(1000, head=tied)
    for zero in (Zero(1), Zero(2), Zero(3)):
        first = states_at("backward", shape, run(zero, slots=4)).gradients
        loss = states_at("loss", shape, run(zero, slots=4)).gradients
        assert first - loss == 100 * 2
    apart = plain_shape(1000, head=dataclasses.replace(tied, tied=False))
    assert states_at("backward", apart, run(Zero(2), slots=4)).gradients == 0
    assert states_at("backward", apart, run(Zero(1), slots=4)).gradients == 200


def test_one_rank_gathers_nothing_in_stage_3() -> None:
    chosen = run(Zero(3, reduce_bucket=100, max_reuse_distance=10**9))
    assert states_at("backward", SHAPE, chosen).buffers == 200


def test_no_more_is_gathered_than_there_is() -> None:
    assert gathered(1000, 100, Zero(3, max_reuse_distance=10**9)) == 1000


def test_parameters_offloaded_in_stage_3_leave_the_device() -> None:
    zero = Zero(3, reduce_bucket=100, offload_param="cpu", offload_optimizer="cpu")
    resting = resting_states(SHAPE, run(zero, slots=4))
    assert (resting.weights, resting.gradients, resting.optimizer) == (0, 0, 0)


@pytest.mark.parametrize("stage", [1, 2])
def test_float32_training_under_deepspeed_has_masters_beside_its_weights(stage: int) -> None:
    chosen = run(Zero(stage), slots=2, precision=Precision(4, 4, masters=True))
    resting = resting_states(SHAPE, chosen)
    assert resting.weights == 1500 * 4
    assert resting.optimizer == 500 * (4 + 8)
