"""The collator: examples of different lengths as one batch, padded to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from det_files.data.tokenization import IGNORED, Example


@dataclass(frozen=True)
class PaddingCollator:
    """Pads on the right; padding is neither attended to nor learned, whatever its token id."""

    pad_token_id: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Returns input_ids, attention_mask (1 where real) and labels, each [B, S] of int64."""
        longest = max(len(example["input_ids"]) for example in examples)
        size = (len(examples), longest)
        input_ids = torch.full(size, self.pad_token_id, dtype=torch.long)
        attention_mask = torch.zeros(size, dtype=torch.long)
        labels = torch.full(size, IGNORED, dtype=torch.long)
        for i, example in enumerate(examples):
            length = len(example["input_ids"])
            input_ids[i, :length] = torch.tensor(example["input_ids"])
            attention_mask[i, :length] = 1
            labels[i, :length] = torch.tensor(example["labels"])
        return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
