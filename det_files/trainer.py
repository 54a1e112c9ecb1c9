"""TokenTrainer: transformers' Trainer with token-exact losses and our metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import EvalPrediction, TrainingArguments

from det_files.activation_offloading import ActivationOffloading
from det_files.compilation import CompileClock, is_compiled
from det_files.data.collator import PackingCollator, row_lengths, row_of_positions
from det_files.data.layout import Layout
from det_files.data.sampler import GlobalBatchSampler, by_length
from det_files.deepspeed_config import BatchSizes
from det_files.loss_head import install_loss_head, supervised
from det_files.losses import row_statistics, summarize
from det_files.resuming import ResumingTrainer
from det_files.throughput import ThroughputMeter, model_shape
from det_files.tuning.prompt_state import has_prompt, load_prompt, saving_prompt

if TYPE_CHECKING:
    from det_files.evaluation.task_scores import LoadedTask


class TokenTrainer(ResumingTrainer):
    """A Trainer whose losses do not depend on how the work is spread.

    - training loss: summed over supervised tokens, over the global batch's count of them;
    - eval_loss: the same over the whole split, with perplexity and token accuracy;
    - logits are computed where a token is supervised, and never held (loss_head.py);
    - items in the order of GlobalBatchSampler;
    - each logged row carries throughput and peak memory, and the seconds spent compiling so far,
      which no throughput counts; the window of a logged loss is part of a checkpoint, so a resumed
      curve has the rows of an uninterrupted one.
    """

    # compute_loss divides by the step's supervised tokens itself; the Trainer counts those.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        layout: Layout,
        activation_offloading: bool = False,
        tasks: Sequence[LoadedTask] = (),
        **kwargs: Any,
    ) -> None:
        """As the Trainer's, but that a layout brings the datasets and the collator.

        `tasks` are scored in every evaluation.
        """
        super().__init__(
            *args,
            train_dataset=layout.train,
            eval_dataset=layout.val,
            data_collator=layout.collator,
            compute_metrics=_evaluation_metrics,
            **kwargs,
        )
        install_loss_head(self.model)
        self.model_accepts_loss_kwargs = True
        self._layout = layout
        self._tasks = tasks
        self._forward_context = ActivationOffloading if activation_offloading else nullcontext
        self.meter = ThroughputMeter(self.args.device, model_shape(self.model))
        self._compile_clock = CompileClock(self.meter.paused) if is_compiled(self.model) else None

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[int] | None:
        sizes = batch_sizes(self.args)
        return GlobalBatchSampler(
            self._layout.order,
            self._layout.lengths,
            sizes.global_batch,
            sizes.micro_batch,
            self.data_seed,
            self._padded,
        )

    def _get_eval_sampler(self, eval_dataset: Dataset[Any]) -> Sampler[int] | None:
        if not self._padded or eval_dataset is not self._layout.val:
            return super()._get_eval_sampler(eval_dataset)
        # Rows of similar lengths together: less padding, the same sums.
        order = by_length(self._layout.val_lengths, self.args.eval_batch_size)
        return order.tolist()  # type: ignore[no-any-return]  # a sampler is any iterable of numbers

    @property
    def _padded(self) -> bool:
        return not isinstance(self._layout.collator, PackingCollator)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """One optimizer step's micro-batches and their supervised tokens on all ranks, metered."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            self.meter.count(row_lengths(batch), batch["labels"])
        return batches, items

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """This micro-batch's share of the step's loss, times the ranks that gradients average.

        `num_items_in_batch` are the supervised tokens of the whole step on all ranks: dividing by
        them makes the gradient that of one big batch, however it was spread.
        """
        with self._forward_context():
            outputs = model(**{key: value for key, value in inputs.items() if key != "items"})
        if num_items_in_batch is None:
            num_items_in_batch = supervised(inputs["labels"]).sum()
        # A step without a supervised token has a loss of 0 and no gradient; 0 / 0 would end it all.
        count = torch.as_tensor(num_items_in_batch).clamp(min=1)
        loss = outputs["loss"] * (self.accelerator.num_processes / count)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """(None, statistics [items, 3], zeros [items, 1]): the Trainer gathers no logits.

        It also drops the items that were repeated to fill the last batch, so none counts twice.
        """
        inputs = self._prepare_inputs(inputs)
        items = inputs.pop("items")
        with torch.no_grad(), self.compute_loss_context_manager():
            scores = model(**inputs)["scores"]
        chosen = supervised(inputs["labels"])
        item_of = items[row_of_positions(inputs)[chosen]]
        statistics = row_statistics(scores, item_of, int(items[-1]) + 1)
        return None, statistics, torch.zeros_like(statistics[:, :1])

    def evaluation_loop(self, dataloader: DataLoader[Any], *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's; then the tasks; with `predict_with_generate` what is generated."""
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        found: dict[str, float] = {}
        if getattr(self.args, "predict_with_generate", False):
            from det_files.evaluation.generated import generated_scores  # its libraries are slow

            found |= generated_scores(self, dataloader.dataset)
        if self._tasks:
            from det_files.evaluation.task_scores import score_tasks

            found |= score_tasks(self, self._tasks)
        output.metrics.update({f"{prefix}_{name}": value for name, value in found.items()})
        return output

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds throughput to a row of training metrics, then logs as the Trainer does."""
        if "loss" in logs:
            logs = logs | self.meter.row(self.accelerator.gather)
            if self._compile_clock is not None:
                logs["compile_seconds"] = self._compile_clock.seconds
        super().log(logs, start_time)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        # Also around what callbacks do then, such as uploading: it is not training.
        with self.meter.paused():
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        if self.args.include_num_input_tokens_seen == "no":  # else the Trainer counts them itself
            self.state.num_input_tokens_seen += self.meter.book_tokens(self.accelerator.gather)
        super()._save_checkpoint(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if has_prompt(self.model) and self.args.should_save:
            with saving_prompt(self.model, Path(output_dir or self.args.output_dir), state_dict):
                super()._save(output_dir, state_dict)
        else:
            super()._save(output_dir, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if has_prompt(self.model):
            load_prompt(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)


def _evaluation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    return summarize(prediction.predictions)


def batch_sizes(args: TrainingArguments) -> BatchSizes:
    """The batch arithmetic of these training arguments on their ranks."""
    return BatchSizes(args.train_batch_size, args.gradient_accumulation_steps, args.world_size)
