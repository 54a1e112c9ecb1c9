"""DetCallback: a transformers Trainer on Determined — metrics, checkpoints, preemption, resume.

Works in anyone's own Trainer, on a cluster and with the contexts that `open_core` makes off it:

    callback = DetCallback(core_context, args)
    trainer = Trainer(args=args, callbacks=[callback], …)
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)

The order at a step boundary is: log, evaluate, save, upload, report the validation, ask the
searcher, acknowledge. A searcher may end a trial at a validation, and an acknowledged preemption
ends it for now; what either of them ends must be safe before.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from determined import core
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from det_files.cluster.catching_up import catch_up
from det_files.cluster.checkpoints import checkpoint_metadata, remove_other_steps, upload
from det_files.cluster.leaving import Leaving
from det_files.cluster.master import trial_record
from det_files.cluster.metrics import MetricReporter
from det_files.cluster.progress import ProgressReporter
from det_files.cluster.resume import discard_download, download_latest, is_own
from det_files.cluster.search import Decision, Position, make_search, searcher_of
from det_files.data.sampler import set_epoch

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
        self._searcher = dict(searcher if searcher is not None else searcher_of(core_context))
        self._is_chief = core_context.distributed.rank == 0
        self._metrics = MetricReporter(
            core_context.train, self._is_chief, filter_metrics, self._searcher
        )
        self._record = trial_record(core_context)
        self._search = make_search(core_context, self._searcher, self._record)
        self._progress = ProgressReporter(
            self._search.report_progress, in_background=core_context.info is not None
        )
        self._rows_a_step = args.train_batch_size * args.gradient_accumulation_steps
        self._rows_a_step *= args.world_size
        self._preempted = self._training = False
        self._leaving = Leaving(core_context)
        self._validation: dict[str, float] = {}  # evaluated, but not reported yet
        self._evaluated_at = self._saved_at = -1
        if args.resume_from_checkpoint is None:
            latest = download_latest(core_context)
            args.resume_from_checkpoint = str(latest) if latest is not None else None
        self._resumed_from = args.resume_from_checkpoint

    @property
    def preempted(self) -> bool:
        """True once this trial has stopped, unfinished, because it was asked to."""
        return self._preempted

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._training = True
        if state.global_step > 0 and is_own(self._core, args.resume_from_checkpoint):
            position = self._position(state)
            told = (self._core, self._record, self._metrics, self._search)
            decision = catch_up(*told, state.log_history, position)
            if decision is not Decision.GO_ON and not position.finished:
                self._leaving.after_next_step(acknowledge=decision is Decision.WAIT)

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
        self._report_validation(args, state, control, between_steps=True)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._is_chief and "loss" in (logs or {}):
            self._progress.report(self._position(state))
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
        complete = "eval_runtime" in self._validation
        # (Whether "best" saves is not known yet, and the Trainer overrides what is asked.)
        saved_first = control.should_save and args.save_strategy != "best"
        if not self._training or (complete and not saved_first):
            self._report_validation(args, state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._resumed_from is not None:
            # Every rank has taken a step, so nobody reads it any more.
            discard_download(self._core.distributed, Path(self._resumed_from))
            self._resumed_from = None
        due = self._search.validation_due(self._position(state))
        if due and args.eval_strategy != "no":
            control.should_evaluate = True
            control.should_save |= self._search.saves_when_due and args.save_strategy != "no"
        if state.global_step >= state.max_steps:
            # Finished: a preemption that comes now changes nothing. The end is always validated
            # where validations were asked for, so that a searcher hears of the final model.
            if args.eval_strategy == "steps":
                control.should_evaluate = True
            return
        if self._core.preempt.should_preempt(auto_ack=False):
            self._preempted = True
            self._leaving.now(args, control, saved=False, acknowledge=True)
            if state.epoch is not None and state.epoch.is_integer():
                # The epoch is whole: what is due at its end is done now, before the checkpoint,
                # because the resumed run begins with the next one.
                control.should_log |= args.logging_strategy == "epoch"
                control.should_evaluate |= (
                    args.eval_strategy == "epoch" and args.eval_delay <= state.epoch
                )
        elif self._leaving.decided:  # after the step before
            self._leaving.now(args, control, False, self._leaving.to_acknowledge)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The Trainer also comes here when it leaves an epoch in the middle: nothing is due then,
        # and what was done at the last step is not done again.
        self._report_validation(args, state, control)
        if self._leaving.decided or self._evaluated_at == state.global_step:
            control.should_evaluate = False
        if self._saved_at == state.global_step:
            control.should_save = False
        elif self._leaving.to_acknowledge:
            # save_strategy: best has taken the request back after an evaluation.
            control.should_save = True
        if self._leaving.decided:
            control.should_log = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._saved_at == state.global_step:
            return
        self._saved_at = state.global_step
        directory = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        metadata = self._user_data | checkpoint_metadata(state, self._searcher)
        upload(self._core, directory, metadata, self._extra_files)
        if self._core.info is not None:
            remove_other_steps(self._core.distributed, directory)
        self._report_validation(args, state, control)
        self._leaving.acknowledge_if_due()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._report_validation(args, state, control)
        self._training = False
        self._leaving.acknowledge_if_due()  # nothing was saved: it goes on from an earlier step
        if self._is_chief:
            self._progress.report(self._position(state))
        self._progress.close()

    def _report_validation(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        between_steps: bool = False,
    ) -> None:
        if not self._validation:
            return
        row = self._metrics.validation(self._validation, self._evaluated_at, state.epoch or 0.0)
        self._validation = {}
        if not self._training:
            return
        position = self._position(state)
        decision = self._search.validated(position, row)
        if decision is Decision.GO_ON or self._leaving.decided or position.finished:
            return
        logger.info("%s: leaving after step %d", decision.value, state.global_step)
        acknowledge = decision is Decision.WAIT
        if between_steps:
            self._leaving.after_next_step(acknowledge)
        else:
            saved = self._saved_at == state.global_step
            self._leaving.now(args, control, saved, acknowledge)

    def _position(self, state: TrainerState) -> Position:
        step = state.global_step
        fraction = min(1.0, step / state.max_steps) if state.max_steps > 0 else 0.0
        return Position(step, state.epoch or 0.0, step * self._rows_a_step, fraction)
