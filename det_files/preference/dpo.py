"""DPO: direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290), by TRL."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from trl.models.utils import prepare_deepspeed
from trl.trainer.dpo_trainer import DPOTrainer

from det_files.args import RunArgs
from det_files.preference.reference import reference_model
from det_files.preference.trainer import ExactTrainer


class _Trainer(ExactTrainer, DPOTrainer):
    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """The dataset with the reference's scores of both answers, on every rank.

        TRL has the first rank write them into a file beside the dataset's, which one in memory
        does not have, and other hosts could not read.
        """
        loader = DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator)
        model = self.model
        if self.is_deepspeed_enabled:
            self._precompute_engine = self._precompute_engine or prepare_deepspeed(
                self.model, self.accelerator
            )
            model = self._precompute_engine
        scores: dict[str, list[torch.Tensor]] = {"ref_chosen_logps": [], "ref_rejected_logps": []}
        for batch in self.accelerator.prepare(loader):
            found = self.compute_ref_log_probs(model, batch)
            gathered = self.accelerator.gather_for_metrics(found)
            for column, part in zip(scores, gathered, strict=True):
                scores[column].append(part.float().cpu())
        for column, parts in scores.items():
            dataset = dataset.add_column(column, torch.cat(parts).tolist())
        return dataset


def make(run: RunArgs, **common: Any) -> ExactTrainer:
    """The trainer; `common` are the Trainer's own arguments, and `data`."""
    return _Trainer(ref_model=reference_model(run), **common)
