"""Scores of lm-evaluation-harness, an optional engine that asks the questions of its own tasks.

The harness (Gao et al., EleutherAI; the interface here is of 0.4.13) loads the model itself: the
base by its name, an adapter as `peft` on it, a whole model from its checkpoint. Its prompts are the
tasks' own, without a chat template, as published figures are. What it logs of each question makes
the statistics of rows, so that its scores get the intervals and comparisons of all others; a metric
that is no mean of its questions' values (a perplexity) has none, and stands in the JSON alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from det_files.evaluation.arguments import LM_EVAL_BATCH_SIZE, model_names
from det_files.evaluation.asking import checkpoint_facts
from det_files.evaluation.metrics import HIGHER, LOWER, Score, Statistics
from det_files.evaluation.results import Measured
from det_files.evaluation.row_statistics import means, shares
from det_files.faults import ConfigError, Fault, Faults, did_you_mean
from det_files.models import REWARD
from det_files.trained.checkpoint import TrainedCheckpoint, open_checkpoint
from det_files.trained.locating import locate
from det_files.trained.model import BASE, find_missing_base
from det_files.trained.tokenizer import with_own_tokenizer

REQUIREMENT = 'pip install "lm_eval[hf]==0.4.13"'
_DECIMALS = 1e-6  # within which a mean of logged values is the harness's score


def measure_tasks(
    options: argparse.Namespace, faults: Faults
) -> tuple[dict[str, Any], list[Measured], dict[str, Score]]:
    """Returns what was evaluated, each model's statistics of questions, and what each score is.

    Raises:
        ConfigError: faults of the flags; the harness is missing; it has no task of a name; it
            cannot load a model of the checkpoint.
    """
    checkpoint = _checked(options, faults)
    names = model_names(options)
    scores: dict[str, Score] = {}
    measured, whole = [], {}
    for name in names:
        found = _run(model_arguments(checkpoint, name, options.dtype), options)
        whole[name] = found["results"]
        scores |= scores_of_tasks(found)
        measured.append(Measured(name, statistics_of(found), records_of(found["samples"])))
    facts = checkpoint_facts(checkpoint) | {"lm_eval": _plain(whole)}
    return facts, _in_common(measured, options.tasks), scores


def _checked(options: argparse.Namespace, faults: Faults) -> TrainedCheckpoint:
    """The checkpoint, where nothing forbids the harness to be run on it."""
    checkpoint = None
    if options.checkpoint is not None:
        try:
            checkpoint = open_checkpoint(locate(options.checkpoint))
            find_loading_faults(checkpoint, model_names(options), faults)
        except ConfigError as error:
            faults.extend(error)
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        faults.add("--engine", f"lm-eval needs a package that is missing ({error}): {REQUIREMENT}")
    else:
        find_unknown_tasks(options.tasks or (), TaskManager().all_tasks, faults)
    faults.raise_if_any()
    assert checkpoint is not None  # else there was a fault
    return checkpoint


def _run(model_args: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """What the harness found of one model."""
    import torch
    from lm_eval import simple_evaluate

    found: dict[str, Any] = simple_evaluate(
        model="hf",
        model_args=model_args,
        tasks=list(options.tasks),
        num_fewshot=options.num_fewshot,
        batch_size=options.batch_size or LM_EVAL_BATCH_SIZE,
        device="cuda" if torch.cuda.is_available() else "cpu",
        limit=options.limit,
        bootstrap_iters=0,
        log_samples=True,
    )
    return found


def model_arguments(
    checkpoint: TrainedCheckpoint, name: str, dtype: str | None = None
) -> dict[str, Any]:
    """Returns the harness's `model_args` of a checkpoint's base or tuned model."""
    model = checkpoint.model
    found: dict[str, Any] = {
        "pretrained": model.source,
        "tokenizer": with_own_tokenizer(checkpoint).tokenizer_name or model.source,
        "dtype": dtype or model.dtype,
        "trust_remote_code": model.trust_remote_code,
    }
    if name == BASE or checkpoint.is_adapter:
        found["revision"] = model.model_revision
    else:
        found["pretrained"] = str(checkpoint.path)
    if name != BASE and checkpoint.is_adapter:
        found["peft"] = str(checkpoint.path)
    return found


def find_loading_faults(
    checkpoint: TrainedCheckpoint, names: Sequence[str], faults: Faults
) -> None:
    """Notes why the harness, which loads with transformers alone, cannot load these models."""
    place, model = str(checkpoint.path), checkpoint.model
    if checkpoint.kind == REWARD:
        faults.add(place, "is a reward model, which answers nothing")
    find_missing_base(checkpoint, names, faults)
    if (BASE in names or checkpoint.is_adapter) and model.gguf_file:
        faults.add(place, "started from a GGUF file, which the harness does not take here")
    if model.quantization != "none":
        reason = f"was trained on a base in 4 bits ({model.quantization}): export it as merged"
        faults.add(place, reason)
    if not checkpoint.is_adapter and not checkpoint.has_whole_weights and list(names) != [BASE]:
        faults.add(place, "holds ZeRO shards alone: export it with --to hf")


def find_unknown_tasks(names: Iterable[str], known: Sequence[str], faults: Faults) -> None:
    """Notes each name that is no task, group or tag of the harness."""
    for name in names:
        if name not in known:
            reason = f'lm-evaluation-harness has no task "{name}"{did_you_mean(name, known)}'
            faults.add("--tasks", reason)


def statistics_of(found: Mapping[str, Any]) -> Statistics:
    """Statistics of questions by `task/metric`, of what `simple_evaluate` returned with samples.

    Only of metrics that are the mean of their questions' values.
    """
    statistics: Statistics = {}
    for task, samples in found["samples"].items():
        for key, reported in found["results"][task].items():
            metric, _, filtered = key.partition(",")
            rows = sorted(_with(samples, metric, filtered), key=lambda sample: sample["doc_id"])
            values = [sample[metric] for sample in rows]
            if not values or not all(isinstance(v, int | float | np.number) for v in values):
                continue
            if not math.isclose(np.mean(values), reported, rel_tol=_DECIMALS, abs_tol=_DECIMALS):
                continue
            hits = all(value in (0, 1) for value in values)
            title = _title(task, metric, filtered)
            statistics[title] = shares([v == 1 for v in values]) if hits else means(values)
    return statistics


def scores_of_tasks(found: Mapping[str, Any]) -> dict[str, Score]:
    """What each score of `statistics_of` is; values are as the harness gives them, of 1."""
    directions = found.get("higher_is_better", {})
    scores = {}
    for task, metrics in found["results"].items():
        for key in metrics:
            metric, comma, filtered = key.partition(",")
            if comma:
                higher = directions.get(task, {}).get(metric)
                better = {True: HIGHER, False: LOWER}.get(higher, "")
                title = _title(task, metric, filtered)
                scores[title] = Score(title, "", better)
    return scores


def records_of(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The questions' answers as lines of a file: task, row, target, responses and scores."""
    return [
        {
            "task": task,
            "row": sample["doc_id"],
            "filter": sample["filter"],
            "output": str(sample["target"]),
            "answer": str(sample["filtered_resps"]),
            "scores": _plain({name: sample[name] for name in sample["metrics"]}),
        }
        for task, rows in samples.items()
        for sample in rows
    ]


def _with(
    samples: Sequence[Mapping[str, Any]], metric: str, filtered: str
) -> Iterable[Mapping[str, Any]]:
    return (s for s in samples if s["filter"] == filtered and metric in s["metrics"])


def _title(task: str, metric: str, filtered: str) -> str:
    return f"{task}/{metric}" + (f" ({filtered})" if filtered not in ("", "none") else "")


def _in_common(measured: Sequence[Measured], tasks: Sequence[str]) -> list[Measured]:
    """The same with the statistics that all have: a score that is a mean by chance is none."""
    common = set.intersection(*(set(one.statistics) for one in measured))
    if not common:
        reason = f"{', '.join(tasks)}: no metric is a mean of its questions' values"
        raise ConfigError(Fault("--tasks", reason))
    return [
        Measured(one.name, {n: s for n, s in one.statistics.items() if n in common}, one.records)
        for one in measured
    ]


def _plain(value: Any) -> Any:
    """The same of types that JSON has; else its text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
