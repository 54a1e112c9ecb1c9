"""ResumingTrainer: what makes a resumed run of any Trainer the run that was not interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from transformers import PrinterCallback, Trainer

from det_files.loss_window import LossWindow


class ResumingTrainer(Trainer):
    """A base of trainers: the loss window in checkpoints, adapters in their own precision.

    `phase` says what an error that ends training is of: preparing (which includes DeepSpeed's
    engine), training or evaluation. `batch_metrics` stand in every row of training metrics.
    """

    phase = "preparing"
    batch_metrics: Mapping[str, float] = MappingProxyType({})

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

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds `batch_metrics` to a row of training metrics, then logs as the Trainer does."""
        super().log(logs | dict(self.batch_metrics) if "loss" in logs else logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As the Trainer's."""
        before, self.phase = self.phase, "evaluation"
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        self.phase = before  # not after an error, which is of the evaluation
        return metrics

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        self.phase = "training"
        # Resumed from the checkpoint of its last step, the Trainer would train one more.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
