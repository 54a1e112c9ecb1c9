"""The order of training rows, by itself and through the Trainer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForCausalLM, TrainingArguments

from det_files.cluster.callback import set_epoch
from det_files.data.collator import PaddingCollator
from det_files.data.sampler import GlobalBatchSampler
from det_files.training import TokenTrainer


def order(rows: int = 40, batch: int = 8, seed: int = 1, epoch: int = 0) -> list[int]:
    sampler = GlobalBatchSampler(rows, batch, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_epoch_is_whole_batches_of_different_rows() -> None:
    assert len(order(43)) == len(GlobalBatchSampler(43, 8, 1)) == 40
    assert max(Counter(order(43)).values()) == 1
    left_out = {tuple(set(range(43)) - set(order(43, epoch=epoch))) for epoch in range(5)}
    assert len(left_out) > 1  # not always the same ones
    with pytest.raises(ValueError, match="7 rows do not fill one global batch of 8"):
        GlobalBatchSampler(7, 8, 1)


def test_orders_differ_by_seed_and_by_epoch_and_repeat() -> None:
    orders = {tuple(order(seed=seed, epoch=epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert order(seed=2, epoch=3) == order(seed=2, epoch=3)


def loader(micro: int, ranks: int, rank: int) -> DataLoader[int]:
    """A rank's data loader as accelerate makes it."""
    sampler = GlobalBatchSampler(43, 8, 1)
    made = DataLoader(list(range(43)), batch_size=micro, sampler=sampler, collate_fn=list)
    return prepare_data_loader(made, num_processes=ranks, process_index=rank, put_on_device=False)


@pytest.mark.parametrize(("micro", "ranks"), [(8, 1), (4, 1), (4, 2), (2, 2), (1, 8), (2, 4)])
def test_every_split_of_a_global_batch_sees_the_same_rows_in_a_step(micro: int, ranks: int) -> None:
    seen = [[row for batch in loader(micro, ranks, rank) for row in batch] for rank in range(ranks)]
    wanted, per_rank = order(43), 8 // ranks
    for step in range(5):
        got = {row for rows in seen for row in rows[step * per_rank : (step + 1) * per_rank]}
        assert got == set(wanted[step * 8 : (step + 1) * 8])


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_epoch_reaches_the_sampler_through_skipped_batches(ranks: int) -> None:
    resumed = skip_first_batches(loader(4, ranks, 0), 1)
    set_epoch(resumed, 3)  # DetCallback, at the epoch's beginning
    resumed.set_epoch(3)  # the Trainer; with two ranks this alone does not reach it
    rows = [row for batch in resumed for row in batch]
    assert rows == [r for i, r in enumerate(order(43, epoch=3)) if i // 4 % ranks == 0][4:]


class NumberedRows(Dataset[dict[str, list[int]]]):
    """Rows whose first token is their number."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": [index, 20, 21], "labels": [-100, 20, 21]}


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
        trainer = RecordingTrainer(model, args, PaddingCollator(0), train_dataset=NumberedRows())
        trainer.train(resume_from_checkpoint=resume)
        return trainer.seen

    seen = run()
    assert seen == [row for epoch in range(3) for row in order(10, 4, seed=7, epoch=epoch)]
    assert run(f"{tmp_path}/checkpoint-3") == seen[12:]
