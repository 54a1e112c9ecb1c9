"""What `hyperparameters.eval_tasks` may hold: what validations score beside the loss.

A mapping, name of a task → its arguments; validations then carry `eval_<task>_<score>` for every
score of its metrics (`evaluation.metrics`). Of three kinds: answers to rows with references,
corrections of the sentences of an M2 file, and the perplexity of texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from det_files.data.arguments import DataArguments
from det_files.evaluation.metrics import (
    GOLD,
    METRICS,
    REFERENCE,
    TEXTS,
    Score,
    find_unknown,
    scores_of,
)
from det_files.faults import Faults, did_you_mean
from det_files.hyperparameters import is_hyperparameter, representatives
from det_files.models import PREFERENCE, SEQ2SEQ
from det_files.schema import check_mapping, fields_of, show

SECTION = "hyperparameters.eval_tasks"
VAL, TEST = "val", "test"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class TaskArguments:
    """One task: the rows, how they are answered, and what the answers are scored by."""

    metrics: list[str] = field(
        default_factory=list, metadata={"help": "names of metrics; perplexity is of texts, alone"}
    )
    source: str | None = field(
        default=None,
        metadata={
            "help": "name of the run's source that rows come from, or whose columns and formats "
            "hold for path; default: all sources, each in turn"
        },
    )
    path: str | None = field(
        default=None, metadata={"help": "a file of rows, or of texts, in place of a split"}
    )
    split: str = field(
        default=VAL,
        metadata={"choices": (VAL, TEST), "help": "of the sources; val: the rows of eval_loss"},
    )
    max_samples: int | None = field(
        default=None,
        metadata={"minimum": 1, "help": "rows used, the first ones; of texts, windows"},
    )
    max_new_tokens: int = field(
        default=256, metadata={"minimum": 1, "help": "tokens of the longest answer"}
    )
    batch_size: int = field(
        default=16,
        metadata={"minimum": 1, "help": "rows that a rank answers at once, or windows it reads"},
    )
    m2: str | None = field(
        default=None,
        metadata={"help": "file of gold corrections, whose sentences are the rows (m2, errant)"},
    )

    @property
    def reads_texts(self) -> bool:
        """Whether texts are read, in place of rows that are answered."""
        return any(METRICS[name].needs == TEXTS for name in self.metrics)


Tasks = dict[str, TaskArguments]


def task_scores(tasks: Mapping[str, TaskArguments]) -> dict[str, Score]:
    """What validations carry of these tasks, `eval_<task>_<score>`."""
    return {
        f"eval_{name}_{score}": said
        for name, task in tasks.items()
        if isinstance(task.metrics, list)  # else a malformed hyperparameter, which is noted
        for score, said in scores_of(task.metrics).items()
    }


def read_tasks(
    path: str, mapping: Mapping[str, Any], data: DataArguments, kind: str, faults: Faults
) -> Tasks:
    """Returns the typed tasks, for a model of that kind on that data; notes every fault in them."""
    if kind == PREFERENCE and mapping:
        reason = "belong to det_files.run_clm and det_files.run_seq2seq: methods of run_preference"
        faults.add(path, f"{reason} validate by metrics of their own")
        return {}
    tasks: Tasks = {}
    for name, given in mapping.items():
        where = f"{path}.{name}"
        if not _NAME.fullmatch(str(name)):
            reason = "a task's name is part of names of metrics: letters, digits, _ and - alone"
            faults.add(where, reason)
        elif not isinstance(given, Mapping) or is_hyperparameter(given):
            expected = "expected a mapping such as {metrics: [final_answer]}"
            faults.add(where, f"{expected}, got {show(given)}")
        else:
            tasks[str(name)] = _read_task(where, given, data, kind, faults)
    _check_twice(path, tasks, faults)
    return tasks


def check_tasks(tasks: Tasks, training: Mapping[str, Any], faults: Faults) -> None:
    """Notes tasks that no validation would run."""
    if tasks and training.get("eval_strategy", "no") == "no":
        faults.add(SECTION, 'have no effect: training_arguments.eval_strategy is "no"')


def _read_task(
    where: str, given: Mapping[str, Any], data: DataArguments, kind: str, faults: Faults
) -> TaskArguments:
    read = check_mapping(where, given, fields_of(TaskArguments), faults)
    found = []
    for place, metrics in _lists(where, read.get("metrics"), faults):
        known = [name for name in metrics if name in METRICS]
        if len(known) == len(metrics):
            _check_needs(where, place, known, read, kind, faults)
        found = known
    if not is_hyperparameter(read.get("metrics")):
        read["metrics"] = found
    _check_source(where, read, data, faults)
    if read.get("path") is not None and "split" in read:
        faults.add(f"{where}.split", "has no effect with path")
    return TaskArguments(**read)


def _lists(where: str, metrics: Any, faults: Faults) -> Iterator[tuple[str, list[str]]]:
    """(place, names) of every list of metrics that a search may draw; faults in them are noted."""
    for suffix, names in representatives(metrics):
        place = f"{where}.metrics{suffix}"
        if not names:
            faults.add(place, f"missing: name some of {', '.join(METRICS)}")
        elif isinstance(names, list):
            texts = [name for name in names if isinstance(name, str)]
            if len(texts) < len(names):
                faults.add(place, f"expected names of metrics, got {show(names)}")
            find_unknown(place, texts, faults)
            yield place, texts


def _check_needs(
    where: str, place: str, metrics: list[str], read: Mapping[str, Any], kind: str, faults: Faults
) -> None:
    by_need: dict[str, list[str]] = {}
    for name in metrics:
        by_need.setdefault(METRICS[name].needs, []).append(name)
    texts, gold = (" and ".join(by_need.get(need, ())) for need in (TEXTS, GOLD))
    if texts:
        if len(by_need) > 1:
            faults.add(place, f"{texts} is of texts, the others of answers: make two tasks of them")
        if kind == SEQ2SEQ:
            faults.add(place, f"{texts} is of causal language models: an encoder-decoder has none")
        if "max_new_tokens" in read:
            faults.add(f"{where}.max_new_tokens", f"has no effect on {texts}")
    if gold and read.get("m2") is None:
        faults.add(f"{where}.m2", f"missing: {gold} needs a file of gold corrections")
    if not gold and read.get("m2") is not None:
        faults.add(f"{where}.m2", "has no effect without the metrics m2 or errant")
    if gold and REFERENCE in by_need:
        reason = f"{' and '.join(by_need[REFERENCE])} needs references, and the rows are those of"
        faults.add(place, f"{reason} {where.rsplit('.', 1)[-1]}.m2: make two tasks of them")
    for key in ("path", "split"):
        if gold and read.get(key) is not None:
            faults.add(f"{where}.{key}", "has no effect with m2, whose sentences are the rows")


def _check_source(where: str, read: Mapping[str, Any], data: DataArguments, faults: Faults) -> None:
    """Notes a source that is none of the run's, or that must be named.

    Of lists of sources that a search draws nothing is known here.
    """
    sources = data.settled_sources()
    labels = [source.label for source in sources]
    named = [(s, name) for s, name in representatives(read.get("source")) if name is not None]
    for suffix, name in named:
        if labels and isinstance(name, str) and name not in labels:
            reason = f"the run has no source {show(name)}{did_you_mean(name, labels)}"
            faults.add(f"{where}.source{suffix}", f"{reason}; it has {', '.join(labels)}")
    formats = {(source.input_format, source.output_format) for source in sources}
    own_rows = read.get("path") is not None or read.get("m2") is not None
    if own_rows and not named and len(formats) > 1 and "perplexity" not in read["metrics"]:
        reason = "missing: the run's sources have formats of their own, and rows are asked by one"
        faults.add(f"{where}.source", f"{reason} of {', '.join(labels)}")


def _check_twice(path: str, tasks: Tasks, faults: Faults) -> None:
    owner: dict[str, str] = {}
    for name, task in tasks.items():
        for score in task_scores({name: task}):
            if owner.setdefault(score, name) != name:
                reason = f"gives {score}, as {owner[score]} does: name one of them differently"
                faults.add(f"{path}.{name}", reason)
