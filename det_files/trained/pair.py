"""The base model and the fine-tuned one, to be asked the same things one after the other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from det_files.models import SEQ2SEQ
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.model import (
    BASE,
    MODELS,
    TUNED,
    TrainedModel,
    data_from_here,
    load_base,
    load_trained,
)
from det_files.trained.tokenizer import tokenizer_of

NAMES = {BASE: "base", TUNED: "fine-tuned"}
Made = TypeVar("Made")


class Pair:
    """Both models of a checkpoint.

    Of an adapter one copy of the weights is held, with the adapter off and on. Of a whole model one
    of the two is held at a time, and the one at hand is asked first, so that each round loads one.

    Attributes:
        checkpoint: of the fine-tuned model.
        data: the run's data arguments, for rows that are to be answered.
        tokenizer: the one of training, for both.
    """

    def __init__(self, checkpoint: TrainedCheckpoint, dtype: str | None = None) -> None:
        """Loads no weights yet; they will be in `dtype` (the run's).

        Raises:
            ConfigError: what was trained gives no answers; the run's data arguments have faults,
                or its tokenizer cannot be loaded.
        """
        self.checkpoint, self._dtype = checkpoint, dtype
        self.data = data_from_here(checkpoint)
        self.tokenizer = tokenizer_of(checkpoint)
        self._held: TrainedModel | None = None
        self._which = TUNED

    @property
    def is_seq2seq(self) -> bool:
        return self.checkpoint.kind == SEQ2SEQ

    def each(
        self, ask: Callable[[str, Any], Made], names: Sequence[str] = MODELS
    ) -> dict[str, Made]:
        """What `ask` makes of BASE or TUNED and the model that answers as it, in order of `names`.

        The model is lent for the call alone: whoever kept it would hold two whole models.

        Raises:
            ConfigError: weights cannot be had, or are not whole.
        """
        made = {}
        if self.checkpoint.is_adapter:
            self._held = self._held or load_trained(self.checkpoint, self._dtype)
            for which in names:
                with self._held.answering_as(which) as model:
                    made[which] = ask(which, model)
            return made
        # Of a whole model the one at hand is asked first, whatever the order.
        at_hand = self._which if self._held else None
        for which in sorted(names, key=lambda name: name != at_hand):
            made[which] = ask(which, self._load(which).model)
        return {which: made[which] for which in names}

    def _load(self, which: str) -> TrainedModel:
        if self._held is None or self._which != which:
            self.release()  # two whole models need not fit at once
            load = load_base if which == BASE else load_trained
            self._held, self._which = load(self.checkpoint, self._dtype), which
        return self._held

    def release(self) -> None:
        """Lets the weights go."""
        self._held = None
        gc.collect()  # peft's models hold themselves
