"""KTO: Kahneman-Tversky optimization (Ethayarajh et al. 2024, arXiv:2402.01306), by TRL."""

from __future__ import annotations

from typing import Any

from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference, KTOTrainer

from det_files.args import RunArgs
from det_files.preference.reference import reference_model
from det_files.preference.trainer import ExactTrainer


class MismatchingCollator(DataCollatorForUnpairedPreference):
    """Pairs each prompt of a micro-batch with another one's answer, for the estimate of the KL.

    TRL pairs neighbours of the dataset, and must then take rows in the dataset's order. Paired
    here, the mismatched answers are those of the batch itself, as the paper has it, in any order.
    Where all its prompts are the same, so are their answers' pairs: a batch of one row, say.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        return super().torch_call(
            [
                {**example, "KL_completion_ids": _another(examples, number)["completion_ids"]}
                for number, example in enumerate(examples)
            ]
        )


def _another(examples: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """The nearest example before it, in a circle, that answers another prompt."""
    before = [examples[number - step] for step in range(1, len(examples) + 1)]
    prompt = examples[number]["prompt_ids"]
    return next((other for other in before if other["prompt_ids"] != prompt), before[0])


class _Trainer(ExactTrainer, KTOTrainer):
    pass


def make(run: RunArgs, **common: Any) -> ExactTrainer:
    """The trainer; `common` are the Trainer's own arguments, and `data`."""
    collator = None
    if common["args"].loss_type == "kto":
        padding = common["processing_class"].pad_token_id
        collator = MismatchingCollator(pad_token_id=padding, max_length=None)
    return _Trainer(ref_model=reference_model(run), data_collator=collator, **common)
