"""Resolution: hyperparameters and flags as RunArgs, or every fault of them with its place."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from det_files.args import RunArgs, RunFacts
from det_files.autotune.dsat_names import MODE_KEY, is_dsat
from det_files.autotune.metrics import SECTION as MEASURING
from det_files.autotune.metrics import MeasuringArguments, check_measuring
from det_files.best_metric import check_best_metric
from det_files.combinations import (
    check_combinations,
    check_kind,
    check_oom_backoff,
    with_weight_update,
)
from det_files.data.arguments import longest_output
from det_files.deepspeed_checks import check_autotuning, check_deepspeed_config
from det_files.deepspeed_config import (
    BatchSizes,
    complete,
    load_deepspeed_config,
    merge,
    overwritten_batch,
)
from det_files.deepspeed_optimizer import check_optimizer, check_scheduler
from det_files.entrypoint import flags_to_hyperparameters
from det_files.evaluation.metrics import LOWER
from det_files.evaluation.tasks import Tasks, check_tasks, task_scores
from det_files.faults import ConfigError, Faults
from det_files.hyperparameters import (
    check_grid,
    check_hyperparameters,
    representatives,
    sample,
)
from det_files.models import ModelArguments
from det_files.old_names import modernise
from det_files.preference.arguments import METHODS, PreferenceArguments
from det_files.preference.combinations import check_preference
from det_files.schema import check_mapping, fields_of, show
from det_files.searcher import check_searcher, reported_metrics
from det_files.sections import TOP_LEVEL, read_section, read_sections
from det_files.training_arguments import SECTION as TRAINING
from det_files.training_arguments import (
    check_training_arguments,
    why_not_writable,
    with_defaults,
)
from det_files.trial_lengths import with_ranges


def resolve_or_raise(
    hyperparameters: Mapping[str, Any],
    flags: Sequence[str],
    facts: RunFacts,
    context: Path,
    subject: str = "",
) -> RunArgs:
    """`resolve`, with its warnings issued once each and its faults raised together."""
    faults, warnings = Faults(), list[str]()
    args = resolve(hyperparameters, flags, facts, context, faults, warnings)
    if os.environ.get("RANK", "0") == "0":
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
    faults.raise_if_any(subject)
    assert args is not None
    return args


def resolve(
    hyperparameters: Mapping[str, Any],
    flags: Sequence[str],
    facts: RunFacts,
    context: Path,
    faults: Faults,
    warnings: list[str],
) -> RunArgs | None:
    """Merges flags and hyperparameters into RunArgs; None where faults leave nothing to build.

    Hyperparameters that are still ranges are checked at their extremes (under
    `overwrite_deepspeed_args`, at one draw), and one draw of them is resolved. Paths are relative
    to `context`. Nothing given is changed.
    """
    check_hyperparameters("hyperparameters", hyperparameters, faults)
    from_flags = flags_to_hyperparameters(flags, faults, warnings)
    raw = merge(from_flags, modernise(hyperparameters, warnings))
    for key in raw:
        if key not in TOP_LEVEL and key != MODE_KEY:
            faults.unknown("hyperparameters", str(key), TOP_LEVEL)
    sections = {name: read_section(raw, name, faults) for name in TOP_LEVEL[1:]}
    # Once as it stands, for the faults of every value that a search may draw; then one draw of it.
    read_sections(sections, facts.kind, faults)
    rng = random.Random(facts.seed or 0)
    drawn = sample(sections | {"deepspeed_config": raw.get("deepspeed_config")}, rng)
    model, data, tuning, given, preference, tasks = read_sections(drawn, facts.kind, Faults())
    given |= _overwritten_batch(drawn["overwrite_deepspeed_args"], given, warnings)
    if preference is not None:
        given.setdefault("learning_rate", METHODS[preference.method].learning_rate)
    training = with_defaults(given, model.dtype, faults)
    if training.get("predict_with_generate") and training.get("generation_max_length") is None:
        # transformers' own default is 20 tokens.
        training["generation_max_length"] = longest_output(data)
    check_training_arguments(training, faults)
    output_dir = training.get("output_dir")
    if isinstance(output_dir, str) and (reason := why_not_writable(context / output_dir)):
        faults.add(f"{TRAINING}.output_dir", f"{output_dir}: {reason}")
    measuring = check_mapping(
        MEASURING, drawn["measuring_arguments"], fields_of(MeasuringArguments), faults
    )
    check_measuring(measuring, facts.searcher, training, faults)
    ranges = with_ranges(training, sections["training_arguments"])
    _check_metrics(hyperparameters, facts, training, ranges, preference, tasks, faults)
    deepspeed = _deepspeed(raw, drawn, model, training, facts, context, faults)
    check_combinations(model, tuning, training, deepspeed, faults)
    check_kind(facts.kind, data, faults)
    check_oom_backoff(training, deepspeed, preference, faults, warnings)
    if preference is not None:
        check_preference(preference, model, data, tuning, training, facts.slots, faults)
    if faults.found:
        return None
    training = with_weight_update(training, tuning)
    return RunArgs(
        facts,
        model,
        data,
        tuning,
        training,
        deepspeed,
        drawn,
        preference,
        MeasuringArguments(**measuring),
        tasks,
    )


def _check_metrics(
    hyperparameters: Mapping[str, Any],
    facts: RunFacts,
    training: Mapping[str, Any],
    ranges: Mapping[str, Any],
    preference: PreferenceArguments | None,
    tasks: Tasks,
    faults: Faults,
) -> None:
    """Notes what validations would score for nothing, and metrics gone by that they do not have."""
    check_tasks(tasks, training, faults)
    scores = task_scores(tasks)
    if preference is None:  # TRL's trainers report more than is known here
        falling = ["eval_perplexity", *(n for n, said in scores.items() if said.better == LOWER)]
        check_best_metric(training, reported_metrics(training, None, scores), falling, faults)
    if facts.searcher and not is_dsat(hyperparameters, facts.searcher):
        check_searcher(facts.searcher, training, faults, preference, ranges, scores)
        if facts.searcher.get("name") == "grid":
            check_grid("hyperparameters", hyperparameters, faults)


def _overwritten_batch(
    overwrite: Mapping[str, Any], given: Mapping[str, Any], warnings: list[str]
) -> dict[str, int]:
    found = overwritten_batch(overwrite)
    for argument, size in found.items():
        if given.get(argument, size) != size:
            warnings.append(
                f"{TRAINING}.{argument}: {size} of overwrite_deepspeed_args holds, not "
                f"{show(given[argument])}"
            )
    return found


def _deepspeed(
    raw: Mapping[str, Any],
    drawn: Mapping[str, Any],
    model: ModelArguments,
    training: Mapping[str, Any],
    facts: RunFacts,
    context: Path,
    faults: Faults,
) -> dict[str, Any] | None:
    """The merged configuration of the file drawn; every file that may be named is checked."""
    configs: dict[str, dict[str, Any]] = {}
    overwrite, known = drawn["overwrite_deepspeed_args"], len(faults.found)
    for suffix, name in representatives(raw.get("deepspeed_config")):
        if name is None:
            continue
        if not isinstance(name, str):
            where = f"hyperparameters.deepspeed_config{suffix}"
            faults.add(where, f"expected the path of a JSON file, got {show(name)}")
            continue
        try:
            base = load_deepspeed_config(context / name, name)
        except ConfigError as error:
            faults.extend(error)
            continue
        configs[name] = complete(merge(base, overwrite))
    if not configs and overwrite and len(faults.found) == known:
        faults.add("hyperparameters.overwrite_deepspeed_args", "needs a deepspeed_config")
    micro, accumulation = (
        training.get(key, 1)
        for key in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    whole = all(isinstance(number, int) for number in (micro, accumulation))
    batch = BatchSizes(micro, accumulation, facts.slots) if whole else None
    clip = training.get("max_grad_norm", 1.0)
    for config in configs.values():
        check_deepspeed_config(config, batch, model.dtype, clip, faults)
        check_autotuning(config, training, faults)
        check_optimizer(config, training, faults)
        check_scheduler(config, training, faults)
    chosen = drawn["deepspeed_config"]
    return configs.get(chosen) if isinstance(chosen, str) else None
