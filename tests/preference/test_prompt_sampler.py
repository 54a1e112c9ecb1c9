"""PromptSampler: TRL's arrangement, each epoch in a shuffle of its own."""

import numpy as np
import pytest
from trl.trainer.utils import RepeatSampler

from det_files.data.mixture import MixtureOrder
from det_files.preference.prompt_sampler import PromptSampler


class InOrder:
    rows = 7

    def order(self, seed: int, epoch: int) -> np.ndarray:
        return np.arange(7)


def test_the_arrangement_is_trls() -> None:
    theirs = RepeatSampler(range(7), 2, batch_size=3, repeat_count=4, shuffle=False)
    ours = PromptSampler(InOrder(), prompts=3, generations=2, repeats=4, seed=0)
    assert list(ours) == list(theirs)
    assert len(ours) == len(list(ours))


def test_an_epoch_is_shuffled_by_its_number_alone() -> None:
    order = MixtureOrder([9], None)
    first, again = (PromptSampler(order, 3, 2, 1, seed=1) for _ in range(2))
    epochs = []
    for epoch in range(2):
        first.set_epoch(epoch)
        epochs.append(list(first))
    assert epochs[0] != epochs[1]
    again.set_epoch(1)  # as a run does that is resumed there
    assert list(again) == epochs[1]
    assert sorted(set(epochs[1])) == list(range(9))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="7 rows do not fill a batch of 8 prompts"):
        PromptSampler(InOrder(), prompts=8, generations=2, repeats=1, seed=0)
