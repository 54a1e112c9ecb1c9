"""DetCallback: a transformers Trainer on Determined — metrics, checkpoints, preemption, resume.

Works in anyone's own Trainer, on a cluster and with the contexts that `open_core` makes off it:

    callback = DetCallback(core_context, args)
    trainer = Trainer(args=args, callbacks=[callback], …)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)

The order at a step boundary is: log, evaluate, save, upload, and only then acknowledge a
preemption, which tells the master that the trial is to be continued later.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers
from determined import core
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from det_files.cluster.checkpoints import download, upload
from det_files.cluster.metrics import MetricReporter

logger = logging.getLogger(__name__)


class DetCallback(TrainerCallback):
    """Reports to the core context, uploads what the Trainer saves, and stops when asked to.

    Every rank must have one: all decisions are taken by the chief and followed by all.
    """

    def __init__(
        self,
        core_context: core.Context,
        args: TrainingArguments,
        filter_metrics: Sequence[str] | None = None,
        user_data: Mapping[str, Any] | None = None,
        *,
        searcher: Mapping[str, Any] | None = None,
        extra_files: Mapping[str, str] | None = None,
    ) -> None:
        """Prepares the callback; where the cluster knows a checkpoint, downloads it for resuming.

        Args:
            core_context: what `det.core.init()` or `open_core()` gave.
            args: the Trainer's own. `resume_from_checkpoint` is set where it is empty and the
                trial has a checkpoint.
            filter_metrics: exact names of metrics to report; None reports all. The searcher's
                metrics are always reported.
            user_data: metadata stored in every checkpoint.
            searcher: the experiment's searcher section; default: the cluster's.
            extra_files: name → text, written into every checkpoint.
        """
        self._core = core_context
        self._user_data = dict(user_data or {})
        self._extra_files = dict(extra_files or {})
        self._searcher = dict(searcher if searcher is not None else _searcher_of(core_context))
        self._is_chief = core_context.distributed.rank == 0
        self._metrics = MetricReporter(
            core_context.train, self._is_chief, filter_metrics, self._searcher
        )
        self._preempted = self._training = False
        self._validation: dict[str, float] = {}  # evaluated, but not reported yet
        self._evaluated_at = self._saved_at = -1
        if args.resume_from_checkpoint is None:
            args.resume_from_checkpoint = download_latest(core_context)

    @property
    def preempted(self) -> bool:
        """True once this trial has stopped, unfinished, because it was asked to."""
        return self._preempted

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._training = True

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        # Resuming within an epoch, the Trainer skips batches through one wrapper more, and with
        # several ranks its own set_epoch then no longer reaches the sampler: rows of epoch 0 again.
        set_epoch(train_dataloader, int(state.epoch or 0))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._report_validation(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._is_chief and "loss" in (logs or {}):
            self._report_progress(state)
        self._metrics.training(dict(logs or {}), state.global_step, state.epoch or 0.0)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        self._evaluated_at = state.global_step
        self._validation.update(metrics or {})
        # Of several datasets each comes alone (eval_<name>_runtime) and they are reported together
        # at the next event: a validation without its metric fails a whole search.
        if "eval_runtime" in self._validation or not self._training:
            self._report_validation(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step >= state.max_steps:
            # Finished: a preemption that comes now changes nothing. The end is always validated
            # where validations were asked for, so that a searcher hears of the final model.
            if args.eval_strategy == "steps":
                control.should_evaluate = True
            return
        if self._core.preempt.should_preempt(auto_ack=False):
            self._preempted = True
            control.should_save = True
            control.should_training_stop = True
            if state.epoch is not None and state.epoch.is_integer():
                # The epoch is whole: what is due at its end is done now, before the checkpoint,
                # because the resumed run begins with the next one.
                control.should_log |= args.logging_strategy == "epoch"
                control.should_evaluate |= (
                    args.eval_strategy == "epoch" and args.eval_delay <= state.epoch
                )

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The Trainer also comes here when it leaves an epoch in the middle: nothing is due then,
        # and what was done at the last step is not done again.
        self._report_validation(state)
        if self._preempted or self._evaluated_at == state.global_step:
            control.should_evaluate = False
        if self._saved_at == state.global_step:
            control.should_save = False
        elif self._preempted:
            # save_strategy: best has taken the request back after an evaluation.
            control.should_save = True
        if self._preempted:
            control.should_log = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._saved_at == state.global_step:
            return
        self._saved_at = state.global_step
        self._report_validation(state)
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        metadata = self._user_data | {
            "steps_completed": state.global_step,
            "epoch": state.epoch,
            "is_best": self._is_best(state),
            "transformers_version": transformers.__version__,
        }
        upload(self._core, directory, metadata, self._extra_files)
        self._remove_other_steps(directory)
        if self._preempted and self._is_chief:
            self._core.preempt.acknowledge_preemption_signal()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._report_validation(state)
        self._training = False
        if self._is_chief:
            self._report_progress(state)

    def _remove_other_steps(self, directory: Path) -> None:
        """Removes what other nodes staged before: the Trainer rotates on the first one alone."""
        distributed = self._core.distributed
        if self._core.info is None or distributed.cross_rank == 0 or distributed.local_rank != 0:
            return
        for other in directory.parent.glob("checkpoint-*"):
            if other != directory:
                shutil.rmtree(other, ignore_errors=True)

    def _report_validation(self, state: TrainerState) -> None:
        if self._validation:
            self._metrics.validation(self._validation, self._evaluated_at, state.epoch or 0.0)
            self._validation = {}

    def _report_progress(self, state: TrainerState) -> None:
        if state.max_steps <= 0:
            return
        try:
            self._core.train.report_progress(min(1.0, state.global_step / state.max_steps))
        except Exception as error:  # whatever the client raises: a progress bar ends no training
            logger.warning("progress was not reported: %s", error)

    def _is_best(self, state: TrainerState) -> bool:
        """True where this step's validation is the best so far by the searcher's metric."""
        name = self._searcher.get("metric")
        sign = 1 if self._searcher.get("smaller_is_better", True) is not False else -1
        rows = [
            (sign * row[name], row["step"])
            for row in state.log_history
            if name in row and math.isfinite(row[name])
        ]
        return bool(rows) and min(rows, key=lambda row: row[0])[1] == state.global_step


def set_epoch(loader: Any, epoch: int) -> None:
    """Tells every sampler of a data loader the epoch, through accelerate's wrappers."""
    sampler = getattr(loader, "batch_sampler", None)
    while sampler is not None:
        for part in (sampler, getattr(sampler, "sampler", None)):
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        sampler = getattr(sampler, "batch_sampler", None)


def download_latest(context: core.Context) -> str | None:
    """Downloads the trial's latest checkpoint of the cluster to a private directory; its path."""
    uuid = context.info.latest_checkpoint if context.info is not None else None
    if uuid is None:
        return None
    private = tempfile.mkdtemp(prefix="resume-") if context.distributed.local_rank == 0 else None
    private = context.distributed.broadcast_local(private)
    logger.info("resuming from checkpoint %s", uuid)
    return str(download(context, uuid, Path(private)))


def _searcher_of(context: core.Context) -> dict[str, Any]:
    trial = context.info.trial if context.info is not None and context.info._trial_info else None
    return dict(trial._config.get("searcher") or {}) if trial is not None else {}
