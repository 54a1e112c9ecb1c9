"""Rows are dealt so that every rank has about as many tokens to read."""

from __future__ import annotations

from det_files.generation.ranks import Ranks


def test_shares_are_alike_in_length_and_hold_every_row_once() -> None:
    lengths = [100, 1, 90, 2, 80, 3, 70]
    shares = [Ranks(rank, 3).share(range(7), lengths) for rank in range(3)]
    assert shares == [[0, 6, 1], [2, 5], [4, 3]]
    assert Ranks().share("ab", [1, 2]) == ["b", "a"]
