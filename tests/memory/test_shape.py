"""A model's shape: lines through what was traced, and elements by kind."""

from memory_runs import plain_shape

from det_files.memory.shape import Line, Parameter


def test_a_line_goes_through_both_points() -> None:
    line = Line.through((1, 110.0), (16, 260.0))
    assert (line.constant, line.each) == (100.0, 10.0)
    assert [line.at(rows) for rows in (1, 2, 16)] == [110.0, 120.0, 260.0]


def test_bytes_are_never_negative() -> None:
    assert Line.through((1, 0.0), (16, 15.0)).at(0) == 0.0


def test_weights_in_4_bits_take_4_13_bits_each_and_others_the_width_of_their_dtype() -> None:
    shape = plain_shape(
        parameters=(
            Parameter((64, 256), 2, trained=False, quantized=True),
            Parameter((10,), 3, trained=False),
            Parameter((8, 2), 1, trained=True),
        )
    )
    assert (shape.trained, shape.frozen, shape.largest_trained) == (16, 32768 + 30, 16)
    # 32768 / 2 + 32768 / 64 + 32768 / 64 / 256 * 4, and 30 in bfloat16.
    assert shape.frozen_bytes(2) == 16384 + 512 + 8 + 60
