"""The collators: examples of different lengths as one batch, padded or laid end to end.

n rows, S the longest row, T tokens of all rows (of an encoder-decoder: of the longest target). An
item of a dataset is one row, or a block of several; `items` [n] says which of the batch's items
each row belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from det_files.data.tokenization import IGNORED, Example

Item = Example | list[Example]
Batch = dict[str, Any]


@dataclass(frozen=True)
class PaddingCollator:
    """Pads on the right; padding is neither attended to nor learned, whatever its token id."""

    pad_token_id: int

    def __call__(self, items: Sequence[Item]) -> Batch:
        """input_ids, attention_mask (1 where real) and labels, each [n, S] of int64, and items."""
        rows, item_of = _rows(items)
        size = (len(rows), max(len(row["input_ids"]) for row in rows))
        input_ids = torch.full(size, self.pad_token_id, dtype=torch.long)
        attention_mask = torch.zeros(size, dtype=torch.long)
        labels = torch.full(size, IGNORED, dtype=torch.long)
        for i, row in enumerate(rows):
            length = len(row["input_ids"])
            input_ids[i, :length] = row["input_ids"]
            attention_mask[i, :length] = 1
            # Nothing stands before a row, unless it is virtual tokens, from which none is learned.
            labels[i, 1:length] = row["labels"][1:]
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels,
            "items": item_of,
        }


@dataclass(frozen=True)
class PackingCollator:
    """Lays rows end to end without padding; positions begin anew in each row.

    The keys are those of transformers' flash attention for rows of different lengths. On a GPU the
    end is filled up to a multiple of `multiple` tokens, which its matrix units want: one more row,
    of padding, that nothing is learned from and no item owns.
    """

    pad_token_id: int
    multiple: int = 1

    def __call__(self, items: Sequence[Item]) -> Batch:
        """input_ids, labels, position_ids [1, T], cu_seq_lens_q and _k [n + 1], items [n]."""
        rows, item_of = _rows(items)
        ids = [row["input_ids"] for row in rows]
        labels = [row["labels"].clone() for row in rows]
        lengths = [len(row) for row in ids]
        for label in labels:
            label[0] = IGNORED  # nothing stands before it; here it would follow another row
        if filling := -sum(lengths) % self.multiple:
            ids.append(torch.full((filling,), self.pad_token_id))
            labels.append(torch.full((filling,), IGNORED))
            lengths.append(filling)
        starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        longest = max(lengths)
        return {
            "input_ids": torch.cat(ids)[None],
            "labels": torch.cat(labels)[None],
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "cu_seq_lens_q": starts,
            "cu_seq_lens_k": starts,
            "max_length_q": longest,
            "max_length_k": longest,
            "items": item_of,
        }


@dataclass(frozen=True)
class SourceTargetCollator:
    """Pads what the encoder reads and what the decoder learns, each by itself.

    The decoder's first token is `decoder_start`, or where that is None a target's own last one
    (mBART's language); a target's last token is predicted, and not read: T tokens need no more than
    T positions. Labels have one place more than targets, in front, so that they stand one before
    the position that predicts them, as a causal model's do.
    """

    pad_token_id: int
    decoder_start: int | None

    def __call__(self, items: Sequence[Item]) -> Batch:
        """input_ids, attention_mask [n, S]; decoder_input_ids [n, T], labels [n, T + 1], items."""
        rows, item_of = _rows(items)
        sources = [row["input_ids"][row["labels"] == IGNORED] for row in rows]
        targets = [row["labels"][row["labels"] != IGNORED] for row in rows]
        read = [torch.cat([self._start(target), target[:-1]]) for target in targets]
        learned = [torch.cat([torch.tensor([IGNORED]), target]) for target in targets]
        return {
            "input_ids": _padded(sources, self.pad_token_id),
            "attention_mask": _padded([torch.ones_like(source) for source in sources], 0),
            "decoder_input_ids": _padded(read, self.pad_token_id),
            "labels": _padded(learned, IGNORED),
            "items": item_of,
        }

    def _start(self, target: torch.Tensor) -> torch.Tensor:
        return target[-1:] if self.decoder_start is None else torch.tensor([self.decoder_start])


def _padded(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    """[n, longest] of int64, padded on the right."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _rows(items: Sequence[Item]) -> tuple[list[Example], torch.Tensor]:
    """All rows of the items, and the number of each one's item."""
    blocks = [item if isinstance(item, list) else [item] for item in items]
    counts = torch.tensor([len(block) for block in blocks])
    numbers = torch.arange(len(blocks)).repeat_interleave(counts)
    return [row for block in blocks for row in block], numbers


def row_lengths(batch: Batch) -> torch.Tensor:
    """[n] tokens of each row of a batch, padding left out."""
    rows = len(batch["items"])
    if "cu_seq_lens_q" in batch:
        return batch["cu_seq_lens_q"].diff()[:rows]
    lengths = torch.as_tensor(batch["attention_mask"]).sum(dim=1)
    if "decoder_input_ids" in batch:
        lengths = lengths + (batch["labels"] != IGNORED).sum(dim=1)
    return lengths


def row_of_positions(batch: Batch) -> torch.Tensor:
    """The row of each position, of the shape of labels; filling has the number of no row."""
    shape = batch["labels"].shape
    if "cu_seq_lens_q" not in batch:
        rows = torch.arange(shape[0], device=batch["labels"].device)
        return rows[:, None].expand(shape)
    lengths = batch["cu_seq_lens_q"].diff()
    rows = torch.arange(len(lengths), device=lengths.device)
    return rows.repeat_interleave(lengths)[None]
