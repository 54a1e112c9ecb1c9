"""build_trainer: the model in its layout, the trainer and its callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)

from det_files.args import RunArgs
from det_files.attention import isolate_rows
from det_files.autotune.measuring import Measuring, reporting_through
from det_files.autotune.metrics import is_measured
from det_files.cluster.callback import DetCallback
from det_files.cluster.context import TrialCore
from det_files.cluster.manifest import RESOLVED_CONFIG_FILE
from det_files.cluster.tensorboard import TensorBoardCallback
from det_files.compilation import compile_layers
from det_files.data.dataset import TrainingData
from det_files.data.layout import Layout, collator_of, lay_out
from det_files.data.packing import Blocks
from det_files.deepspeed_config import BatchSizes
from det_files.experiment import to_yaml
from det_files.faults import ConfigError, Fault
from det_files.loss_head import language_model
from det_files.parameters import ParameterReport
from det_files.rounding import SameRounding
from det_files.trainer import TokenTrainer, batch_sizes

if TYPE_CHECKING:
    from det_files.evaluation.task_scores import LoadedTask


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
        ConfigError: the training rows do not fill one global batch; tasks lack what they are of.
    """
    if data.template.chat:
        # What is saved with the model is the template that made its tokens.
        tokenizer.chat_template = data.template.chat_template
    base = language_model(model)
    packing = bool(args.data.packing)
    isolated = packing and args.tuning.takes_packed_rows and isolate_rows(base)
    collator = collator_of(packing, isolated, tokenizer, base.config)
    layout = lay_out(args.data, data, collator, training_args.seed)
    _check_global_batch(layout, batch_sizes(training_args))
    tasks: list[LoadedTask] = []
    if args.tasks:
        from det_files.evaluation.task_scores import load_tasks  # its libraries are slow

        tasks = load_tasks(args.tasks, args.data, data, tokenizer, model)
    if args.model.compile == "layers":
        compile_layers(model)
    if not is_measured(args.facts.searcher):  # what is measured is measured from the start
        resume_latest(training_args, core)
    callbacks = trial_callbacks(args, training_args, core)
    trainer = TokenTrainer(
        model=model,
        args=training_args,
        layout=layout,
        activation_offloading=args.model.activation_offloading,
        tasks=tasks,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    if is_measured(args.facts.searcher):
        warmup, report = args.measuring.warmup_steps, reporting_through(callbacks[0])
        trainer.add_callback(Measuring(trainer, core.context.distributed, warmup, report))
    return trainer


def resume_latest(training_args: TrainingArguments, core: TrialCore) -> None:
    """Lets training resume from the trial's latest checkpoint, where it has one."""
    if core.latest_checkpoint is not None:
        training_args.resume_from_checkpoint = str(core.latest_checkpoint)


def trial_callbacks(
    args: RunArgs, training_args: TrainingArguments, core: TrialCore
) -> list[TrainerCallback]:
    """What a trial has beside its trainer, whichever that is."""
    found: list[TrainerCallback] = [
        DetCallback(
            core.context,
            training_args,
            searcher=args.facts.searcher or None,
            extra_files={RESOLVED_CONFIG_FILE: to_yaml(args.to_dict())},
        ),
        TensorBoardCallback(core.tensorboard_dir),
        ParameterReport(),
    ]
    if args.tuning.weight_update == "stochastic":
        found.append(SameRounding())
    return found


def _check_global_batch(layout: Layout, sizes: BatchSizes) -> None:
    if layout.order.rows < sizes.global_batch:
        blocks = isinstance(layout.order, Blocks)
        what = "blocks (see data_arguments.block_size)" if blocks else "rows"
        raise ConfigError(
            Fault(
                "hyperparameters.training_arguments.per_device_train_batch_size",
                f"{layout.order.rows} training {what} do not fill one global batch of "
                f"{sizes.micro_batch} x gradient_accumulation_steps {sizes.accumulation} x "
                f"{sizes.slots} slots = {sizes.global_batch}",
            )
        )
