"""Reward modelling: a score for an answer, higher for the chosen one (Bradley and Terry), by TRL.

The loss is that of Ouyang et al. 2022, arXiv:2203.02155, equation 1.
"""

from __future__ import annotations

from typing import Any

from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from det_files.args import RunArgs
from det_files.preference.trainer import ExactTrainer


class WholeTextCollator(DataCollatorForPreference):
    """Scores are of prompt and answer together, which TRL's collator expects in one."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        names = ("chosen_ids", "rejected_ids")
        return super().torch_call(
            [{name: row["prompt_ids"] + row[name] for name in names} for row in examples]
        )


class _Trainer(ExactTrainer, RewardTrainer):
    pass


def make(run: RunArgs, **common: Any) -> ExactTrainer:
    """The trainer; `common` are the Trainer's own arguments, and `data`."""
    collator = WholeTextCollator(pad_token_id=common["processing_class"].pad_token_id)
    return _Trainer(data_collator=collator, **common)
