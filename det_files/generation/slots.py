"""Keys and values of rows that come and go, in buffers that are written in place.

    columns   0 … start                                end … C
    row 0           k k k k k k k k k k k k k k k k k k
    row 1                 k k k k k k k k k k k k k k k      R slots, of which the first
    row 2                             k k k k k k k k k      `count` are taken
    free

`R` slots, `H` heads, `C` columns, `D` head size; `P` tokens of the longest prompt that enters. All
rows end at the same column, so what the model sees, columns start … end of the rows that are
there, is a cache padded on the left. A new token is one column, written once, where transformers'
DynamicCache copies everything at each step; a row enters by writing its own prompt, and leaves by
having the last row moved to its slot. What all prompts begin with (`F` tokens) passes once, and is
copied into each row's slot.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

# Rows come and go while their last column moves on: without columns to spare the buffers would be
# moved at every step. There are this many times those of the longest row, or some are added.
_SPARE = 1.25
# How long answers get is not known before. Columns are so many at first and then grow by a factor,
# at least _SPARE, but to no more than the longest row that can be needs.
_FIRST_COLUMNS = 512
_GROWTH = 1.5


class Slots:
    """The buffers [R, H, C, D] of all layers, and the mask [R, C] of what stands in them."""

    def __init__(self, layers: int, rows: int, widest: int, device: Any) -> None:
        self.rows, self.widest = rows, widest  # tokens that a row can have at most
        self.count = self.start = self.end = 0
        self.mask = torch.zeros(rows, 0, dtype=torch.bool, device=device)
        self.keys: list[torch.Tensor | None] = [None] * layers
        self.values: list[torch.Tensor | None] = [None] * layers
        self.steps = Cache(layers=[_StepLayer(self, layer) for layer in range(layers)])
        self.prefix = Cache(layers=[DynamicLayer() for _ in range(layers)])

    @property
    def columns(self) -> int:
        return self.mask.shape[1]

    @property
    def width(self) -> int:
        """Columns that the model sees."""
        return self.end - self.start

    def seen(self) -> torch.Tensor:
        """The attention mask [count, width + 1] of a step, whose token is in column `end`."""
        return self.mask[: self.count, self.start : self.end + 1]

    def enter(self, lengths: list[int], sharing: list[int]) -> Cache:
        """Takes slots for rows of so many tokens; returns the cache for their prompts' own pass.

        Rows may share a prompt: `sharing` says which of the U prompts of that pass is each row's.
        What is in `prefix` counts in `lengths` and has no part in the pass.
        """
        first, self.count = self.count, self.count + len(lengths)
        longest = max(lengths)
        if first == 0:
            self.start = self.end = min(longest, max(0, self.columns - 1))
        # One column more, for the step that follows.
        if self.end < longest or self.columns < self.end + 1:
            self._move(max(self.width, longest), first)
        self.start = min(self.start, self.end - longest)
        self.mask[first : self.count] = False
        for row, length in enumerate(lengths, first):
            self.mask[row, self.end - length : self.end] = True
        own = sharing == list(range(len(sharing)))
        index = None if own else torch.tensor(sharing, device=self.mask.device)
        prefix: Any = self.prefix.layers
        return Cache(
            layers=[
                _PromptLayer(self, layer, first, lengths, index, prefix[layer])
                for layer in range(len(self.keys))
            ]
        )

    def prepare_step(self, longest: int) -> None:
        """Makes room for one token of each row, of which the longest has so many."""
        self.start = self.end - longest
        if self.columns == self.end:
            self._move(longest, self.count)
        self.mask[: self.count, self.end] = True

    def finish_step(self) -> None:
        """Counts the token that all layers have written."""
        self.end += 1

    def leave(self, row: int) -> None:
        """Frees a row's slot, into which the last row moves."""
        last = self.count - 1
        if row != last:
            seen = slice(self.start, self.end)
            for buffer in (*self.keys, *self.values):
                if buffer is not None:
                    buffer[row, :, seen] = buffer[last, :, seen]
            self.mask[row] = self.mask[last]
        self.count = last

    def write(
        self, layer: int, first: int, column: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes [rows, H, T, D] of a layer from a row and a column on; returns its buffers."""
        return (
            self._write(self.keys, layer, first, column, keys),
            self._write(self.values, layer, first, column, values),
        )

    def _write(
        self,
        buffers: list[torch.Tensor | None],
        layer: int,
        first: int,
        column: int,
        states: torch.Tensor,
    ) -> torch.Tensor:
        rows, heads, tokens, size = states.shape
        buffer = buffers[layer]
        if buffer is None:
            # Zeros: what is masked is multiplied by 0, which does not hide a NaN.
            buffer = buffers[layer] = states.new_zeros(self.rows, heads, self.columns, size)
        buffer[first : first + rows, :, column : column + tokens] = states
        return buffer

    def _move(self, end: int, rows: int) -> None:
        """Moves what the model sees of the first `rows` so that it ends at column `end`.

        Columns are added where few would be free after it.
        """
        width, columns = self.width, self.columns
        old, new = slice(self.start, self.end), slice(end - width, end)
        if columns <= int(end * _SPARE):
            grown = max(_FIRST_COLUMNS, int(end * _GROWTH))
            columns = min(grown, int(self.widest * _SPARE)) + 1  # the step's own
        for buffers in (self.keys, self.values):
            for layer, buffer in enumerate(buffers):
                if buffer is not None:
                    buffers[layer] = _moved(buffer, rows, old, new, columns)
        mask = self.mask.new_zeros(self.rows, columns)
        mask[:rows, new] = self.mask[:rows, old]
        self.mask, self.start, self.end = mask, new.start, end


def _moved(buffer: torch.Tensor, rows: int, old: slice, new: slice, columns: int) -> torch.Tensor:
    """Returns a buffer of so many columns, itself if it can be, with old columns as new ones."""
    total, heads, had, size = buffer.shape
    seen = buffer[:rows, :, old]
    if columns == had:
        moved, seen = buffer, seen.clone()  # old and new columns may overlap
    else:
        moved = buffer.new_zeros(total, heads, columns, size)
    moved[:rows, :, new] = seen
    return moved


class _Layer(CacheLayerMixin):
    """What transformers' models and masks ask of a cache's layer."""

    def __init__(self, slots: Slots, layer: int) -> None:
        super().__init__()
        self.slots, self.layer = slots, layer

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the slots' first write makes their buffers."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1


class _StepLayer(_Layer):
    """One more token of every row."""

    def get_seq_length(self) -> int:
        return self.slots.width

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        slots = self.slots
        keys, values = slots.write(self.layer, 0, slots.end, key_states, value_states)
        seen = slice(slots.start, slots.end + 1)
        return keys[: slots.count, :, seen], values[: slots.count, :, seen]


class _PromptLayer(_Layer):
    """The prompts of rows that enter: they see themselves alone, and are kept for the steps."""

    def __init__(
        self,
        slots: Slots,
        layer: int,
        first: int,
        lengths: list[int],
        sharing: torch.Tensor | None,
        prefix: DynamicLayer,
    ) -> None:
        super().__init__(slots, layer)
        self.first, self.lengths, self.sharing, self.prefix = first, lengths, sharing, prefix

    def get_seq_length(self) -> int:
        return int(self.prefix.get_seq_length())

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = key_states, value_states
        if self.sharing is not None:
            keys, values = keys[self.sharing], values[self.sharing]
        end = self.slots.end
        self.slots.write(self.layer, self.first, end - keys.shape[-2], keys, values)
        if not self.get_seq_length():
            return key_states, value_states
        begun = (self.prefix.keys, self.prefix.values)  # [1, H, F, D]
        # Behind the prompts' own tokens, since these are padded where the prefix belongs.
        for row, length in enumerate(self.lengths, self.first):
            self.slots.write(self.layer, row, end - length, *begun)
        count = len(key_states)
        keys, values = (states.expand(count, -1, -1, -1) for states in begun)
        return torch.cat([keys, key_states], -2), torch.cat([values, value_states], -2)
