"""build_preference_trainer: a method's trainer with our callbacks."""

from __future__ import annotations

import importlib

import torch
from transformers import PreTrainedTokenizerBase, TrainingArguments

from det_files.args import RunArgs
from det_files.cluster.context import TrialCore
from det_files.faults import ConfigError, Fault
from det_files.preference.arguments import SECTION
from det_files.preference.dataset import PreferenceData
from det_files.preference.trainer import ExactTrainer
from det_files.trainer import batch_sizes
from det_files.training import resume_latest, trial_callbacks

BATCH = "hyperparameters.training_arguments.per_device_train_batch_size"


def build_preference_trainer(
    args: RunArgs,
    training_args: TrainingArguments,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: PreferenceData,
    core: TrialCore,
) -> ExactTrainer:
    """The trainer of a run, ready for `train()`.

    Raises:
        ConfigError: the training rows do not fill one step; TRL refuses the arguments.
    """
    assert args.preference is not None
    if data.template.chat:
        tokenizer.chat_template = data.template.chat_template
    _check_rows(args.preference.method, training_args, data)
    resume_latest(training_args, core)
    # One module a method: what the others need is not imported.
    method = importlib.import_module(f"det_files.preference.{args.preference.method}")
    try:
        trainer: ExactTrainer = method.make(
            args,
            model=model,
            args=training_args,
            processing_class=tokenizer,
            data=data,
            callbacks=trial_callbacks(args, training_args, core),
        )
    except (ValueError, NotImplementedError) as error:  # of arguments that do not go together
        raise ConfigError(Fault(SECTION, " ".join(str(error).split()))) from error
    if args.tuning.adapter is None:
        trainer.drop_reference_copy()
    else:
        trainer.match_reference_copy()
    return trainer


def _check_rows(method: str, training_args: TrainingArguments, data: PreferenceData) -> None:
    if method == "grpo":
        needed = training_args.generation_batch_size // training_args.num_generations
        what = f"one batch of generation, which has {needed} prompts"
    else:
        sizes = batch_sizes(training_args)
        needed = sizes.global_batch
        what = (
            f"one global batch of {sizes.micro_batch} x gradient_accumulation_steps "
            f"{sizes.accumulation} x {sizes.slots} slots = {needed}"
        )
    if data.order.rows < needed:
        raise ConfigError(Fault(BATCH, f"{data.order.rows} training rows do not fill {what}"))
