"""ORPO: odds ratio preference optimization (Hong et al. 2024, arXiv:2403.07691), by TRL.

TRL keeps it among its experiments: what it may change there is met in this module alone.
"""

from __future__ import annotations

from typing import Any

from trl.experimental.orpo import ORPOTrainer

from det_files.args import RunArgs
from det_files.data.tokenization import IGNORED
from det_files.preference.trainer import ExactTrainer


class _Trainer(ExactTrainer, ORPOTrainer):
    _metrics_attribute = "_stored_metrics"

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        """The columns that TRL makes of texts, from our tokens."""
        prompt = feature["prompt_ids"]
        row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for name in ("chosen", "rejected"):
            answer = feature[f"{name}_ids"]
            row |= {
                f"{name}_input_ids": prompt + answer,
                f"{name}_attention_mask": [1] * (len(prompt) + len(answer)),
                f"{name}_labels": [IGNORED] * len(prompt) + answer,
            }
        return row


def make(run: RunArgs, **common: Any) -> ExactTrainer:
    """The trainer; `common` are the Trainer's own arguments, and `data`. It has no reference."""
    return _Trainer(**common)
