"""The answers with which KTO estimates its KL belong to other prompts of the micro-batch."""

from __future__ import annotations

from typing import Any

import pytest

from det_files.preference.kto import MismatchingCollator


def row(prompt: int, answer: int) -> dict[str, Any]:
    return {"prompt_ids": [prompt], "completion_ids": [answer, answer], "label": answer % 2 == 0}


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([(1, 11), (2, 12), (3, 13)], [13, 11, 12]),
        # Pairs as they come: neither answer to the same prompt is a mismatched one.
        ([(1, 10), (1, 11), (2, 12), (2, 13)], [13, 13, 11, 11]),
        ([(1, 10), (1, 11)], [11, 10]),  # there is no other
        ([(1, 10)], [10]),
    ],
)
def test_each_prompt_has_an_answer_to_another(
    rows: list[tuple[int, int]], wanted: list[int]
) -> None:
    batch = MismatchingCollator(pad_token_id=0, max_length=None)([row(*pair) for pair in rows])
    assert batch["KL_input_ids"][:, 0].tolist() == [prompt for prompt, _ in rows]
    assert batch["KL_input_ids"][:, 1].tolist() == wanted
    assert batch["input_ids"][:, 1].tolist() == [answer for _, answer in rows]
