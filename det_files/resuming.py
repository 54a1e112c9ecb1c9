"""ResumingTrainer: what makes a resumed run of any Trainer the run that was not interrupted."""

from __future__ import annotations

from typing import Any

from transformers import PrinterCallback, Trainer

from det_files.loss_window import LossWindow


class ResumingTrainer(Trainer):
    """A base of trainers: the loss window in checkpoints, adapters in their own precision."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As the Trainer's; what it prints is left out, as metrics go through DetCallback."""
        super().__init__(*args, **kwargs)
        self._loss_window = LossWindow(self)
        self.add_callback(self._loss_window)
        self.remove_callback(PrinterCallback)

    @property
    def data_seed(self) -> int:
        """What the order of training rows is drawn from."""
        return int(self.args.data_seed if self.args.data_seed is not None else self.args.seed)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._loss_window.keep()
        super()._save_checkpoint(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        dtypes = {name: parameter.dtype for name, parameter in self.model.named_parameters()}
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        # The Trainer has peft load adapters, which casts them to float32.
        for name, parameter in self.model.named_parameters():
            parameter.data = parameter.data.to(dtypes[name])

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # Resumed from the checkpoint of its last step, the Trainer would train one more.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
