"""Examples: rows and blocks off the cache, of one part or of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from det_files.data.examples import Examples, Rows, TextBlocks
from det_files.data.token_cache import TokenCache
from det_files.data.token_entry import Entry, EntryWriter

DOCUMENTS = [list(range(10, 13)), [20], list(range(30, 37)), list(range(40, 49))]


def entry_of(directory: Path, rows: list[list[int]], learned_from: int = 1) -> Entry:
    def build(writer: EntryWriter) -> dict[str, Any]:
        for row in rows:
            writer.add(row, [int(i >= learned_from) for i in range(len(row))])
        return {}

    return TokenCache(directory).get("k", build)


def listed(examples: Examples) -> list[dict[str, list[int]]]:
    return [{name: value.tolist() for name, value in example.items()} for example in examples]


def test_a_row_is_two_tensors_and_its_unlearned_places_are_marked(tmp_path: Path) -> None:
    examples = Examples([Rows(entry_of(tmp_path, [[5, 6, 7], [8, 9]]))])
    assert len(examples) == 2
    assert listed(examples) == [
        {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]},
        {"input_ids": [8, 9], "labels": [-100, 9]},
    ]
    assert {value.dtype for value in examples[0].values()} == {torch.int64}
    assert examples.lengths.tolist() == [3, 2]
    assert examples.lengths.dtype == np.int64
    assert examples.supervised.tolist() == [2, 1]
    assert examples[-1]["input_ids"].tolist() == [8, 9]
    for index in (2, -3):
        with pytest.raises(IndexError):
            examples[index]


def test_parts_stand_one_behind_the_other(tmp_path: Path) -> None:
    first = Rows(entry_of(tmp_path / "a", [[1, 2], [3, 4], [5, 6]]), np.array([2, 0]))
    none = Rows(entry_of(tmp_path / "b", []))
    blocks = TextBlocks(entry_of(tmp_path / "c", DOCUMENTS), 8)
    examples = Examples([first, none, blocks])
    assert examples.sizes == [2, 0, 3]
    assert [example["input_ids"].tolist() for example in examples] == [
        [5, 6],
        [1, 2],
        [10, 11, 12, 20, 30, 31, 32, 33],
        [34, 35, 36, 40, 41, 42, 43, 44],
        [45, 46, 47, 48],
    ]
    assert examples.lengths.tolist() == [2, 2, 8, 8, 4]


@pytest.mark.parametrize("size", range(2, 24))
@pytest.mark.parametrize("numbers", [None, [0, 2], [3], [1, 2, 3], []])
def test_blocks_are_the_stream_cut_up(size: int, numbers: list[int] | None, tmp_path: Path) -> None:
    chosen = range(len(DOCUMENTS)) if numbers is None else numbers
    stream = [token for number in chosen for token in DOCUMENTS[number]]
    expected = [stream[i : i + size] for i in range(0, len(stream), size)]
    expected = [block for block in expected if len(block) > 1]  # one token teaches nothing
    of = None if numbers is None else np.array(numbers, dtype=np.int64)
    examples = Examples([TextBlocks(entry_of(tmp_path, DOCUMENTS), size, of)])
    assert listed(examples) == [
        {"input_ids": block, "labels": [-100, *block[1:]]} for block in expected
    ]
    assert examples.lengths.tolist() == [len(block) for block in expected]
    assert examples.supervised.tolist() == [len(block) - 1 for block in expected]


def test_an_empty_dataset_has_no_rows() -> None:
    assert len(Examples([])) == 0
    assert Examples([]).lengths.tolist() == []
