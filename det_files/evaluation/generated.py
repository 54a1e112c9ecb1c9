"""Generation within an evaluation: each rank answers its share of the rows, all score them all.

Under ZeRO-3 all ranks must call the model equally often, since each call gathers weights; so every
rank has as many batches as the others, and goes on until the last has ended.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

from det_files.data.languages import generation_options
from det_files.data.tokenization import IGNORED
from det_files.evaluation.text_metrics import text_scores


def generated_scores(trainer: Any, rows: Dataset[Any]) -> dict[str, float]:
    """`text_scores` of what an encoder-decoder in training generates for rows of a dataset.

    `generation_max_length` (tokens) and `generation_num_beams` of its arguments hold; there is no
    sampling.
    """
    from accelerate.utils import gather_object

    count = len(rows)  # type: ignore[arg-type]  # ours have a length
    ranks, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
    share = -(-count // ranks)
    # The last row again where a rank has one less.
    numbers = [min(rank + step * ranks, count - 1) for step in range(share)]
    size = trainer.args.per_device_eval_batch_size
    answers: list[tuple[int, str]] = []
    for start in range(0, share, size):
        batch = numbers[start : start + size]
        answers += zip(batch, _generate(trainer, [rows[n] for n in batch]), strict=True)
    predictions = dict(gather_object(answers))
    tokenizer = trainer.processing_class
    references = [
        tokenizer.decode(_target(rows[number]), skip_special_tokens=True) for number in range(count)
    ]
    return text_scores([predictions[number] for number in range(count)], references)


def _generate(trainer: Any, rows: list[dict[str, torch.Tensor]]) -> list[str]:
    args, tokenizer = trainer.args, trainer.processing_class
    batch = trainer.data_collator(rows)
    read = {name: batch[name].to(args.device) for name in ("input_ids", "attention_mask")}
    with torch.no_grad(), trainer.compute_loss_context_manager():
        found = trainer.model.generate(
            **read,
            max_new_tokens=args.generation_max_length,
            num_beams=args.generation_num_beams or 1,
            do_sample=False,
            use_cache=True,  # training switches it off in the model's config
            synced_gpus=trainer.is_deepspeed_enabled and trainer.accelerator.num_processes > 1,
            **generation_options(tokenizer),
        )
    return list(tokenizer.batch_decode(found, skip_special_tokens=True))


def _target(row: dict[str, torch.Tensor]) -> torch.Tensor:
    return row["labels"][row["labels"] != IGNORED]
