"""What fits into a memory is found exactly."""

from memory_runs import plain_shape, run_args

from det_files.memory.estimate import GIBIBYTE, estimate_run
from det_files.memory.fitting import fewest_slots, fitting, largest_micro_batch
from det_files.memory.shape import Parameter

SHAPE = plain_shape(10**6, 10**7, device="cpu")
STAGE_2 = {"stage": 2, "reduce_bucket_size": 1000}


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
