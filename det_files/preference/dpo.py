"""DPO: direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290), by TRL."""

from __future__ import annotations

from typing import Any

from trl.trainer.dpo_trainer import DPOTrainer

from det_files.args import RunArgs
from det_files.preference.reference import reference_model
from det_files.preference.trainer import ExactTrainer


class _Trainer(ExactTrainer, DPOTrainer):
    pass


def make(run: RunArgs, **common: Any) -> ExactTrainer:
    """The trainer; `common` are the Trainer's own arguments, and `data`."""
    return _Trainer(ref_model=reference_model(run), **common)
