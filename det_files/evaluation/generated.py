"""Generation within an evaluation: each rank answers its share of the rows, all score them all.

Under ZeRO-3 all ranks must call the model equally often, since each call gathers weights; so every
rank has as many batches as the others, and goes on until the last has ended.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

from det_files.data.tokenization import IGNORED
from det_files.evaluation.text_metrics import text_scores
from det_files.generation.answers import end_ids, until_end
from det_files.generation.sampling import Sampling
from det_files.generation.searching import search_config


def generated_scores(trainer: Any, rows: Dataset[Any]) -> dict[str, float]:
    """`text_scores` of what an encoder-decoder in training generates for rows of a dataset.

    `generation_max_length` (tokens) and `generation_num_beams` of its arguments hold; the search is
    otherwise that of `decode`.
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
    args, model, tokenizer = trainer.args, trainer.model, trainer.processing_class
    batch = trainer.data_collator(rows)
    read = {name: batch[name].to(args.device) for name in ("input_ids", "attention_mask")}
    sampling = Sampling(args.generation_max_length, num_beams=args.generation_num_beams or 1)
    with torch.no_grad(), trainer.compute_loss_context_manager():
        found = model.generate(
            **read,
            generation_config=search_config(model, tokenizer, sampling),
            synced_gpus=trainer.is_deepspeed_enabled and trainer.accelerator.num_processes > 1,
        )
    ends = end_ids(model, tokenizer)
    # The first is the decoder's start, which may be an end token.
    return [
        tokenizer.decode(until_end(ids, ends), skip_special_tokens=True)
        for ids in found[:, 1:].tolist()
    ]


def _target(row: dict[str, torch.Tensor]) -> torch.Tensor:
    return row["labels"][row["labels"] != IGNORED]
