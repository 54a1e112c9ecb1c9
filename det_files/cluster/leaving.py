"""Leaving: how a trial ends before its time, with its work safe and the master told."""

from __future__ import annotations

from determined import core
from transformers import TrainerControl, TrainingArguments


class Leaving:
    """The decision that this trial leaves, and what is still to be done before it does.

    Acknowledging tells the master that there is work left: the trial will be started again.
    """

    def __init__(self, context: core.Context) -> None:
        self._context = context
        self.decided = False
        self.to_acknowledge = False

    def after_next_step(self, acknowledge: bool) -> None:
        """Decided between steps: the Trainer is about to take one more."""
        self.decided, self.to_acknowledge = True, acknowledge

    def now(
        self, args: TrainingArguments, control: TrainerControl, saved: bool, acknowledge: bool
    ) -> None:
        """Ends training at this step; its checkpoint, unless `saved` already, comes first."""
        self.after_next_step(acknowledge)
        control.should_training_stop = True
        if not saved:
            control.should_save = acknowledge or args.save_strategy != "no"
        else:
            self.acknowledge_if_due()

    def acknowledge_if_due(self) -> None:
        """Acknowledges, once, where that is still to be done; only the chief sends it."""
        if not self.to_acknowledge:
            return
        self.to_acknowledge = False
        if self._context.distributed.rank == 0:
            self._context.preempt.acknowledge_preemption_signal()
