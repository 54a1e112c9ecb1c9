"""build_trainer: transformers' Trainer with token-exact losses, our metrics and our callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, cast

import torch
from torch.utils.data import Dataset, Sampler
from transformers import (
    EvalPrediction,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from det_files.args import RunArgs
from det_files.cluster.callback import DetCallback
from det_files.cluster.context import TrialCore
from det_files.cluster.tensorboard import TensorBoardCallback
from det_files.data.collator import PaddingCollator
from det_files.data.dataset import TrainingData
from det_files.data.sampler import GlobalBatchSampler
from det_files.deepspeed_config import BatchSizes
from det_files.experiment import to_yaml
from det_files.faults import ConfigError, Fault
from det_files.losses import row_statistics, summarize, token_mean_loss
from det_files.parameters import ParameterReport
from det_files.throughput import ThroughputMeter, model_shape

RESOLVED_CONFIG_FILE = "run_args.yaml"
_LOSS_WINDOW = "det_files_loss_window"


class TokenTrainer(Trainer):
    """A Trainer whose losses do not depend on how the work is spread.

    - training loss: summed over supervised tokens, over the global batch's count of them;
    - eval_loss: the same over the whole split, with perplexity and token accuracy, and without
      keeping logits;
    - rows in the order of GlobalBatchSampler;
    - each logged row carries throughput and peak memory; the window of a logged loss is part of
      a checkpoint, so a resumed curve has the rows of an uninterrupted one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, compute_loss_func=token_mean_loss, compute_metrics=_evaluation_metrics, **kwargs
        )
        self._meter = ThroughputMeter(self.args.device, model_shape(self.model))
        self.add_callback(_LossWindow(self))

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int] | None:
        if self.args.train_sampling_strategy != "random":
            return super()._get_train_sampler(train_dataset)
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        return GlobalBatchSampler(
            len(cast(Sized, dataset)), batch_sizes(self.args).global_batch, seed
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """One optimizer step's micro-batches and their supervised tokens on all ranks, metered."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            self._meter.count(batch["attention_mask"], batch["labels"])
        return batches, items

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """(None, statistics [B, 3], zeros [B, 1]): the Trainer gathers statistics, never logits.

        It also drops the rows that were repeated to fill the last batch, so none counts twice.
        """
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**inputs)["logits"]
        statistics = row_statistics(logits, labels)
        return None, statistics, torch.zeros_like(statistics[:, :1])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds throughput to a row of training metrics, then logs as the Trainer does."""
        if "loss" in logs:
            logs = logs | self._meter.row(self.accelerator.gather)
        super().log(logs, start_time)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        # Also around what callbacks do then, such as uploading: it is not training.
        with self._meter.paused():
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._keep_loss_window()
        if self.args.include_num_input_tokens_seen == "no":  # else the Trainer counts them itself
            self.state.num_input_tokens_seen += self._meter.book_tokens(self.accelerator.gather)
        super()._save_checkpoint(*args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # Resumed from the checkpoint of its last step, the Trainer would train one more.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _keep_loss_window(self) -> None:
        """Puts the losses since the last logged row into the state that is being saved."""
        self.state.stateful_callbacks.pop(_LOSS_WINDOW, None)
        if self._globalstep_last_logged < self.state.global_step:
            mean_of_ranks = self.accelerator.gather(self._tr_loss[None].double()).mean()
            self.state.stateful_callbacks[_LOSS_WINDOW] = {
                "sum": float(mean_of_ranks),
                "since": self._globalstep_last_logged,
            }

    def restore_loss_window(self) -> None:
        """Goes on with the window of the checkpoint that training resumed from, if it had one."""
        window = self.state.stateful_callbacks.pop(_LOSS_WINDOW, None)
        if window is not None:
            self._tr_loss += window["sum"]
            self._globalstep_last_logged = int(window["since"])


class _LossWindow(TrainerCallback):
    """Restores the loss window at the only moment when the Trainer has just made a new one."""

    def __init__(self, trainer: TokenTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.restore_loss_window()


def _evaluation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    return summarize(prediction.predictions)


def batch_sizes(args: TrainingArguments) -> BatchSizes:
    """The batch arithmetic of these training arguments on their ranks."""
    return BatchSizes(args.train_batch_size, args.gradient_accumulation_steps, args.world_size)


def build_trainer(
    args: RunArgs,
    training_args: TrainingArguments,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: TrainingData,
    core: TrialCore,
) -> TokenTrainer:
    """The trainer of a run, ready for `train()`.

    Raises:
        ConfigError: the training rows do not fill one global batch.
    """
    sizes = batch_sizes(training_args)
    if len(data.train) < sizes.global_batch:
        raise ConfigError(
            Fault(
                "hyperparameters.training_arguments",
                f"{len(data.train)} training rows do not fill one global batch of "
                f"{sizes.micro_batch} x {sizes.accumulation} x {sizes.slots} = "
                f"{sizes.global_batch} rows",
            )
        )
    if core.latest_checkpoint is not None:
        training_args.resume_from_checkpoint = str(core.latest_checkpoint)
    trainer = TokenTrainer(
        model=model,
        args=training_args,
        train_dataset=data.train,
        eval_dataset=data.val,
        data_collator=PaddingCollator(int(tokenizer.pad_token_id)),
        processing_class=tokenizer,
        callbacks=[
            DetCallback(
                core.context,
                training_args,
                searcher=args.facts.searcher or None,
                extra_files={RESOLVED_CONFIG_FILE: to_yaml(args.to_dict())},
            ),
            TensorBoardCallback(core.tensorboard_dir),
            ParameterReport(),
        ],
    )
    # Metrics go through DetCallback; printed dictionaries would be every row a second time.
    trainer.remove_callback(PrinterCallback)
    return trainer
