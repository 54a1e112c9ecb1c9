"""The losses since the last logged row, kept in checkpoints: a resumed curve has the same rows."""

from __future__ import annotations

from typing import Any

from transformers import Trainer, TrainerCallback

_KEY = "det_files_loss_window"


class LossWindow(TrainerCallback):
    """Puts a trainer's window into its state, and restores it when training begins."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def keep(self) -> None:
        """To be called on every rank before the state is saved."""
        trainer = self._trainer
        trainer.state.stateful_callbacks.pop(_KEY, None)
        if trainer._globalstep_last_logged < trainer.state.global_step:
            mean_of_ranks = trainer.accelerator.gather(trainer._tr_loss[None].double()).mean()
            trainer.state.stateful_callbacks[_KEY] = {
                "sum": float(mean_of_ranks),
                "since": trainer._globalstep_last_logged,
            }

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The only moment when the Trainer has just made a new window.
        window = state.stateful_callbacks.pop(_KEY, None)
        if window is not None:
            self._trainer._tr_loss += window["sum"]
            self._trainer._globalstep_last_logged = int(window["since"])
