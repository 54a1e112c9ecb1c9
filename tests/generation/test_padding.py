"""Which prompts go together, and how they are filled up."""

from det_files.generation.padding import batches_by_length, pad, shared_prefix

LENGTHS = (3, 17, 5, 1, 9, 30, 4)


def test_batches_hold_prompts_of_like_length_each_once() -> None:
    batches = list(batches_by_length([[0] * n for n in LENGTHS], 3))
    assert batches == [[5, 1, 4], [2, 6, 0], [3]]


def test_batches_of_equal_length_hold_no_other() -> None:
    batches = list(
        batches_by_length([[0] * n for n in (2, 3, 2, 1, 2, 3)], 2, equal=lambda length: True)
    )
    assert batches == [[1, 5], [0, 2], [4], [3]]


def test_padding_goes_before_a_causal_prompt_and_behind_an_encoders_and_is_masked() -> None:
    batch = pad([[5, 6, 7], [8]], pad_id=2, left=True)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [2, 2, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    batch = pad([[5, 6, 7], [8]], pad_id=2, left=False)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 2, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_what_prompts_share_leaves_each_a_token_of_its_own() -> None:
    assert shared_prefix([[1, 2, 3, 4], [1, 2, 3, 5, 6], (1, 2, 3, 4, 9)]) == [1, 2, 3]
    assert shared_prefix([[1, 2, 3], [1, 2], [1, 2, 4]]) == [1]
    assert shared_prefix([[1, 2], [1, 2]]) == [1]
    assert shared_prefix([[1, 2], [3, 2]]) == []
    assert shared_prefix([[1, 2, 3]]) == shared_prefix([]) == []
