"""Host memory: loading, and what ZeRO offloads."""

from memory_runs import plain_shape

from det_files.memory.host import load_bytes, offload_bytes
from det_files.memory.runs import Precision, Run
from det_files.memory.zero import Zero

BFLOAT16 = Precision(2, 2, masters=True)


def test_a_rank_reads_the_whole_model_but_in_stage_3() -> None:
    shape = plain_shape(1000, 500)
    assert load_bytes(shape, Run(Zero(2), 4, BFLOAT16)) == 3000
    assert load_bytes(shape, Run(Zero(3), 4, BFLOAT16)) == (375 + 100) * 2


def test_an_offloaded_optimizer_takes_16_bytes_a_parameter_and_what_goes_to_and_fro() -> None:
    run = Run(Zero(2, offload_optimizer="cpu"), 4, BFLOAT16)
    # Float32 weights, gradients and two states; 16-bit weights; the largest gradient.
    expected = 250 * 16 + 250 * 2 + 1000 * 2
    assert offload_bytes(plain_shape(1000), run, pinned_powers=False) == expected
    # Pinned tensors: 1000 → 1024 (four), 500 → 512, 2000 → 2048.
    assert offload_bytes(plain_shape(1000), run, pinned_powers=True) == 4 * 1024 + 512 + 2048


def test_nothing_is_offloaded_unless_it_is_said() -> None:
    assert offload_bytes(plain_shape(1000), Run(Zero(3), 4, BFLOAT16), pinned_powers=True) == 0


def test_offloaded_parameters_are_each_ranks_part() -> None:
    run = Run(Zero(3, offload_param="cpu"), 4, BFLOAT16)
    assert offload_bytes(plain_shape(1000, 3000), run, pinned_powers=False) == 4000 * 2 / 4
