"""What a candidate's trial runs, and what an experiment becomes with the chosen one."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from det_files.args import RunArgs
from det_files.autotune.metrics import PEAK_MEMORY
from det_files.autotune.space import Candidate, hyperparameters_of
from det_files.experiment import Experiment, with_hyperparameters
from det_files.training_fields import GENERATING

# Of the training arguments, what has no place in a trial of some steps from the start.
_LEFT_OUT = (
    *("num_train_epochs", "eval_steps", "eval_delay", "eval_on_start", "save_steps", "output_dir"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better", "oom_backoff"),
    *("resume_from_checkpoint", "auto_find_batch_size", *GENERATING),
    *("evaluation_strategy", "logging_strategy"),
)
_DEEPSPEED = ("deepspeed_config", "overwrite_deepspeed_args")


@dataclasses.dataclass(frozen=True)
class Length:
    """Optimizer steps of a trial: `steps` that are measured, behind `warmup_steps`."""

    steps: int
    warmup_steps: int


def measuring_experiment(
    experiment: Experiment, args: RunArgs, candidate: Candidate, metric: str, length: Length
) -> Experiment:
    """The experiment that measures a candidate: one draw, some steps, nothing evaluated or saved.

    Args:
        experiment: Of which the configuration is tuned.
        args: One draw of its hyperparameters, resolved.
        candidate: What is measured.
        metric: The searcher's.
        length: How long.
    """
    own = hyperparameters_of(candidate, args.hyperparameters, args.deepspeed or {})
    training = {k: v for k, v in own["training_arguments"].items() if k not in _LEFT_OUT}
    own["training_arguments"] = training | {
        "max_steps": length.warmup_steps + length.steps,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_steps": 1,
    }
    own["eval_tasks"] = {}
    own["measuring_arguments"] = {"warmup_steps": length.warmup_steps}
    derived = _with(experiment, {key: value for key, value in own.items() if value})
    derived.config["searcher"] = {
        "name": "single",
        "metric": metric,
        "smaller_is_better": metric == PEAK_MEMORY,
    }
    derived.config["max_restarts"] = 0  # what did not fit once does not fit
    # Its flags are among the resolved hyperparameters; what was left out of these would come back.
    entrypoint = dataclasses.replace(derived.entrypoint, flags=[])
    derived.config["entrypoint"] = entrypoint.words()
    return dataclasses.replace(derived, entrypoint=entrypoint)


def tuned_experiment(experiment: Experiment, args: RunArgs, candidate: Candidate) -> Experiment:
    """The experiment as it was given, with what the candidate says and nothing else changed."""
    config = copy.deepcopy(experiment.config)
    # Ranges under these were drawn once for all trials, and are tuned now.
    drawn = {key: args.hyperparameters.get(key) for key in _DEEPSPEED}
    given = experiment.hyperparameters
    given |= {key: value for key, value in drawn.items() if key in given}
    tuned = hyperparameters_of(candidate, given, args.deepspeed or {})
    config["hyperparameters"] = tuned
    return dataclasses.replace(experiment, config=config, warnings=[])


def _with(experiment: Experiment, hyperparameters: dict[str, Any]) -> Experiment:
    derived = with_hyperparameters(experiment, hyperparameters)
    return dataclasses.replace(derived, warnings=[])
