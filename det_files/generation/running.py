"""Rows that a decoder answers at once: they enter with their prompts and leave when they end.

    begin:  what all prompts begin with [1, F]
    enter:  prompts [U, P], padded on the left -> their keys and values into slots, first tokens
    step:   last tokens [B, 1]                 -> one more token of every row

`U` prompts enter together, `B` rows are there, `P` tokens of the longest prompt behind the `F` that
it shares with all, `V` tokens of the vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from det_files.architectures import architecture_of
from det_files.generation.choice import Choice
from det_files.generation.padding import pad
from det_files.generation.positions import has_moving_positions
from det_files.generation.sampling import Sampling
from det_files.generation.slots import Slots
from det_files.tuning.prompt_state import has_prompt


@dataclass(eq=False)
class Row:
    """One answer that is being given to a prompt."""

    index: int  # of the prompt
    number: int  # by which its random numbers are known
    sequence: int
    prompt: Sequence[int]
    limit: int  # tokens of the answer
    ids: list[int] = field(default_factory=list)  # the answer so far

    @property
    def width(self) -> int:
        """Tokens whose keys and values are kept: all but the last."""
        return len(self.prompt) + len(self.ids) - 1

    @property
    def widest(self) -> int:
        """Tokens of the prompt and of the longest answer that may be."""
        return len(self.prompt) + self.limit


def can_run(model: Any) -> bool:
    """Whether a model's rows can enter and leave a batch one by one, with the answers unchanged.

    It must be a decoder of transformers' own code that tests have compared (`architectures.KNOWN`),
    whose cache is plain keys and values, with nothing before its prompts, and whose positions do
    not depend on the batch's longest row. Any other model answers by transformers' `generate`.
    """
    if has_prompt(model) or model.config.is_encoder_decoder:
        return False
    return (
        architecture_of(model.config) is not None
        and type(bare_model(model)).__module__.startswith("transformers.models.")
        and not has_moving_positions(model)
    )


def bare_model(model: Any) -> Any:
    """transformers' own model within a peft model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class RunningBatch:
    """At most `size` rows of one model, none of more than `widest` tokens, prompt and answer."""

    def __init__(
        self, model: Any, sampling: Sampling, ends: Sequence[int], size: int, widest: int
    ) -> None:
        self.model, self.size = model, size
        self.rows: list[Row] = []
        self._ends = frozenset(ends)
        self._choice = Choice(sampling)
        self._begun = 0  # tokens of the prefix that has passed
        layers = len(DynamicCache(config=model.config).layers)
        self._slots = Slots(layers, size, widest, model.device)
        # Alibi is by the mask alone: such a model takes no positions.
        parameters = inspect.signature(bare_model(model).forward).parameters
        self._takes_positions = "position_ids" in parameters

    @torch.inference_mode()
    def begin(self, prefix: Sequence[int]) -> None:
        """Passes what every row to come begins with; each must have more than that.

        It stands apart from the padding that follows it, which a window over columns would count:
        a model of sliding windows passes it with each prompt.
        """
        if prefix and not any(DynamicCache(config=self.model.config).is_sliding):
            ids = torch.tensor([prefix], device=self.model.device)
            positions = torch.arange(len(prefix), device=self.model.device)[None]
            self._logits(ids, torch.ones_like(ids), positions, self._slots.prefix)
            self._begun = len(prefix)

    @torch.inference_mode()
    def enter(self, rows: Sequence[Row]) -> list[Row]:
        """Takes rows in; returns those whose first token ends them.

        Rows of the same prompt that stand together share its pass through the model.
        """
        prompts: list[Sequence[int]] = []
        sharing: list[int] = []
        previous = None
        for row in rows:
            if row.index != previous:
                prompts.append(row.prompt)
            sharing.append(len(prompts) - 1)
            previous = row.index
        begun = self._begun
        batch = pad([prompt[begun:] for prompt in prompts], 0, left=True)
        own = batch["attention_mask"].to(self.model.device)
        cache = self._slots.enter([len(row.prompt) for row in rows], sharing)
        positions = begun + (own.cumsum(-1) - 1).clamp(min=0)
        mask = torch.cat([own.new_ones(len(prompts), begun), own], -1)
        logits = self._logits(batch["input_ids"].to(self.model.device), mask, positions, cache)
        self.rows += rows
        return self._choose(logits[sharing], list(rows))

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Gives every row one more token; returns those that it ends, which leave."""
        device = self.model.device
        last = torch.tensor([[row.ids[-1]] for row in self.rows], device=device)
        positions = torch.tensor([[row.width] for row in self.rows], device=device)
        self._slots.prepare_step(max(row.width for row in self.rows))
        logits = self._logits(last, self._slots.seen(), positions, self._slots.steps)
        self._slots.finish_step()
        return self._choose(logits, self.rows)

    def _logits(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """The logits [B, V] behind each row's last token."""
        options = {"position_ids": positions} if self._takes_positions else {}
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **options,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _choose(self, logits: torch.Tensor, rows: Sequence[Row]) -> list[Row]:
        """Adds a token to each of these rows, and lets those leave that it ends."""
        said = [[*row.prompt, *row.ids] for row in rows] if self._choice.penalty else []
        keys = [(row.number, row.sequence, len(row.ids)) for row in rows]
        for row, token in zip(rows, self._choice.tokens(logits, said, keys), strict=True):
            row.ids.append(token)
        ended = [row for row in rows if row.ids[-1] in self._ends or len(row.ids) >= row.limit]
        for row in ended:
            self._leave(row)
        return ended

    def _leave(self, row: Row) -> None:
        place = next(place for place, other in enumerate(self.rows) if other is row)
        self._slots.leave(place)
        self.rows[place] = self.rows[-1]
        self.rows.pop()
