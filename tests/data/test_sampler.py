"""The order of training rows, by itself and through the Trainer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForCausalLM, TrainingArguments

from det_files.cluster.callback import set_epoch
from det_files.data.collator import PaddingCollator
from det_files.data.layout import Layout
from det_files.data.mixture import MixtureOrder
from det_files.data.sampler import GlobalBatchSampler, by_length, by_tokens
from det_files.trainer import TokenTrainer


def sampler(
    rows: int = 40, batch: int = 8, seed: int = 1, micro: int = 8, padded: bool = True
) -> GlobalBatchSampler:
    lengths = np.random.default_rng(0).integers(1, 100, rows)
    return GlobalBatchSampler(MixtureOrder([rows], None), lengths, batch, micro, seed, padded)


def order(epoch: int = 0, **options: Any) -> list[int]:
    made = sampler(**options)
    made.set_epoch(epoch)
    return list(made)


def steps(rows: list[int], batch: int = 8) -> list[set[int]]:
    return [set(rows[i : i + batch]) for i in range(0, len(rows), batch)]


def test_an_epoch_is_whole_batches_of_different_rows() -> None:
    assert len(order(rows=43)) == len(sampler(rows=43)) == 40
    assert max(Counter(order(rows=43)).values()) == 1
    left_out = {tuple(set(range(43)) - set(order(epoch, rows=43))) for epoch in range(5)}
    assert len(left_out) > 1  # not always the same ones
    with pytest.raises(ValueError, match="7 rows do not fill one global batch of 8"):
        sampler(rows=7)


def test_orders_differ_by_seed_and_by_epoch_and_repeat() -> None:
    orders = {tuple(order(epoch, seed=seed)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert order(3, seed=2) == order(3, seed=2)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("micro", [1, 2, 4, 8])
def test_dealing_by_length_changes_no_step(micro: int, padded: bool) -> None:
    shuffled = MixtureOrder([40], None).order(1, 0).tolist()
    assert steps(order(micro=micro, padded=padded)) == steps(shuffled)


def test_padded_micro_batches_hold_similar_rows() -> None:
    lengths = np.array([9, 1, 8, 2, 7, 3, 6, 4])
    assert lengths[by_length(lengths, 2)].tolist() == [9, 8, 7, 6, 4, 3, 2, 1]


@pytest.mark.parametrize("micro", [1, 2, 4, 8])
def test_packed_micro_batches_have_about_equally_many_tokens(micro: int) -> None:
    lengths = np.random.default_rng(3).integers(50, 400, 64)
    dealt = by_tokens(lengths, micro)
    assert sorted(dealt.tolist()) == list(range(64))
    sums = lengths[dealt].reshape(-1, micro).sum(axis=1)
    if micro > 1:
        assert np.ptp(sums) < np.ptp(lengths.reshape(-1, micro).sum(axis=1)) / 2


def loader(micro: int, ranks: int, rank: int) -> DataLoader[int]:
    """A rank's data loader as accelerate makes it."""
    rows = sampler(rows=43, micro=micro, padded=False)
    made = DataLoader(list(range(43)), batch_size=micro, sampler=rows, collate_fn=list)
    return prepare_data_loader(made, num_processes=ranks, process_index=rank, put_on_device=False)


@pytest.mark.parametrize(("micro", "ranks"), [(8, 1), (4, 1), (4, 2), (2, 2), (1, 8), (2, 4)])
def test_every_split_of_a_global_batch_sees_the_same_rows_in_a_step(micro: int, ranks: int) -> None:
    seen = [[row for batch in loader(micro, ranks, rank) for row in batch] for rank in range(ranks)]
    wanted, per_rank = order(rows=43), 8 // ranks
    for step in range(5):
        got = {row for rows in seen for row in rows[step * per_rank : (step + 1) * per_rank]}
        assert got == set(wanted[step * 8 : (step + 1) * 8])


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_epoch_reaches_the_sampler_through_skipped_batches(ranks: int) -> None:
    resumed = skip_first_batches(loader(4, ranks, 0), 1)
    set_epoch(resumed, 3)  # DetCallback, at the epoch's beginning
    resumed.set_epoch(3)  # the Trainer; with two ranks this alone does not reach it
    rows = [row for batch in resumed for row in batch]
    whole = order(3, rows=43, micro=4, padded=False)
    assert rows == [r for i, r in enumerate(whole) if i // 4 % ranks == 0][4:]


class NumberedRows(Dataset[dict[str, torch.Tensor]]):
    """Rows whose first token is their number."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.tensor([index, 20, 21])
        return {"input_ids": ids, "labels": torch.tensor([-100, 20, 21])}


class RecordingTrainer(TokenTrainer):
    """Keeps the rows of every micro-batch that is trained on."""

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *rest: Any) -> Any:
        self.seen = [*getattr(self, "seen", []), *inputs["input_ids"][:, 0].tolist()]
        return super().training_step(model, inputs, *rest)


def test_the_trainer_shuffles_each_epoch_anew_and_resumes_within_one(
    tiny_model: Path, tmp_path: Path
) -> None:
    def run(resume: str | None = None) -> list[int]:
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        args = TrainingArguments(
            str(tmp_path),
            num_train_epochs=3,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            save_steps=3,
            seed=7,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        rows, lengths = NumberedRows(), np.full(10, 3)
        once = MixtureOrder([10], None)
        layout = Layout(rows, rows, once, lengths, lengths, PaddingCollator(0))
        trainer = RecordingTrainer(model, args, layout=layout)
        trainer.train(resume_from_checkpoint=resume)
        return trainer.seen

    seen = run()
    shuffled = [MixtureOrder([10], None).order(7, epoch)[:8].tolist() for epoch in range(3)]
    assert seen == [row for epoch in shuffled for row in epoch]  # equal lengths: as shuffled
    assert run(f"{tmp_path}/checkpoint-3") == seen[12:]
