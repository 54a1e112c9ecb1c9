"""The rows of tasks that are answered: their prompts as training has them, and what scores them.

Rows of val are those of eval_loss, token by token, also where val was taken from train; those of a
test split, of a file and of an M2 file are read and rendered as the run's sources are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.dataset import TrainingData
from det_files.data.examples import TextBlocks
from det_files.data.rows import is_text
from det_files.evaluation.fitting import find_unmet_needs
from det_files.evaluation.m2_file import GoldSentence, read_m2
from det_files.evaluation.metrics import Scored, score
from det_files.evaluation.questions import AskedRow, make_questions, read_file, split_rows
from det_files.evaluation.tasks import SECTION, VAL, TaskArguments
from det_files.faults import ConfigError, Fault, Faults
from det_files.generation.answers import until_end

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")


@dataclass(frozen=True)
class TaskRows:
    """N rows that are to be answered.

    Attributes:
        prompts: token ids of each, ragged.
        rows: what their answers are scored by; they have none yet.
        gold: of m2 and errant, else empty.
    """

    prompts: list[list[int]]
    rows: list[Scored]
    gold: list[GoldSentence]


def load_rows(
    name: str,
    task: TaskArguments,
    args: DataArguments,
    data: TrainingData,
    tokenizer: PreTrainedTokenizerBase,
) -> TaskRows:
    """Returns the rows of a task, of a run with that data; scoring them has been tried.

    Raises:
        ConfigError: rows are not there, or lack what the metrics need; a package is missing.
    """
    where = f"{SECTION}.{name}"
    gold: list[GoldSentence] = []
    if task.m2 is None and task.path is None and task.split == VAL:
        placed = _val_rows(where, task, args, data, tokenizer)
    else:
        if task.m2 is not None:
            gold = read_m2(Path(task.m2))[: task.max_samples]
        asked = _asked_rows(where, task, args, gold)
        questions = make_questions(asked, args, tokenizer, data.template.separate)
        placed = [
            (row.place, question.prompt, question.reference)
            for row, question in zip(asked, questions, strict=True)
        ]
    places, prompts, references = (list(column) for column in zip(*placed, strict=True))
    rows = [Scored("", "", reference, tokens=0, cut_off=False) for reference in references]
    faults = Faults()
    for place, prompt in zip(places, prompts, strict=True):
        if not prompt:
            faults.add(where, f"{place}: the prompt has no tokens")
    find_unmet_needs(task.metrics, rows, places, faults, gold=len(gold) if gold else None)
    faults.raise_if_any(where)
    score(task.metrics, rows, gold)  # what would end training at its first validation ends it here
    return TaskRows(prompts, rows, gold)


def chosen_sources(task: TaskArguments, args: DataArguments) -> list[tuple[int, SourceArguments]]:
    """(number, source) of those that a task has rows of; of a file, the first has the formats."""
    sources = enumerate(args.settled_sources())
    return [(n, source) for n, source in sources if task.source in (None, source.label)]


def read_rows(task: TaskArguments, args: DataArguments) -> list[AskedRow]:
    """Returns the (first `max_samples`) rows of a task's file, or of a split of its sources.

    Sources that have no such split are left out.

    Raises:
        ConfigError: they are not there, or are bad.
    """
    chosen = chosen_sources(task, args)
    if task.path is not None:
        source = chosen[0][1]
        source = source if task.source else replace(source, columns={})
        return read_file(Path(task.path), source, task.max_samples)
    by_source = [split_rows(s, number, task.split, task.max_samples) for number, s in chosen]
    if not any(by_source):
        labels = ", ".join(source.label for _, source in chosen)
        raise ConfigError(Fault("", f"there is no {task.split} split with rows: {labels}"))
    return in_turn(by_source, task.max_samples)


def _asked_rows(
    where: str, task: TaskArguments, args: DataArguments, gold: Sequence[GoldSentence]
) -> list[AskedRow]:
    if task.m2 is not None:
        _, source = chosen_sources(task, args)[0]
        return [AskedRow({"input": s.source}, f"{task.m2}:{s.line}", source) for s in gold]
    rows = read_rows(task, args)
    text = next((row.place for row in rows if is_text(row.row)), None)
    if text is not None:
        raise ConfigError(Fault(where, f"{text}: {_PLAIN}"))
    return rows


_PLAIN = "plain text asks nothing; perplexity is the metric of texts"


def _val_rows(
    where: str,
    task: TaskArguments,
    args: DataArguments,
    data: TrainingData,
    tokenizer: PreTrainedTokenizerBase,
) -> list[tuple[str, list[int], str | None]]:
    """(place, prompt, reference) of rows of val, off the tokens that eval_loss is of."""
    chosen = chosen_sources(task, args)
    texts = [source.label for n, source in chosen if isinstance(data.val.parts[n], TextBlocks)]
    if texts:
        raise ConfigError(Fault(f"{where}.source", f"{texts[0]}: {_PLAIN}"))
    ends = (data.template.end_token_id, tokenizer.eos_token_id)
    found: list[tuple[str, list[int], str | None]] = []
    rows = [[(n, i, s.label) for i in range(len(data.val.parts[n].lengths))] for n, s in chosen]
    for number, index, label in in_turn(rows, task.max_samples):
        tokens, learned = data.val.parts[number].read(index)
        border = _last_answer(learned)
        answer = tokens[border:][learned[border:] != 0].tolist()
        if not data.template.separate:
            answer = until_end(answer, ends)
        reference = str(tokenizer.decode(answer, skip_special_tokens=True))
        found.append((f"row {index} of {label}'s val", tokens[:border].tolist(), reference))
    return found


def _last_answer(learned: np.ndarray) -> int:
    """Where the last run of learned tokens begins."""
    unlearned = np.flatnonzero(learned[: np.flatnonzero(learned)[-1]] == 0)
    return int(unlearned[-1]) + 1 if len(unlearned) else 0


def in_turn(lists: Iterable[Sequence[T]], limit: int | None) -> list[T]:
    """The first `limit` of all: the lists' first ones, then their second ones, and so on."""

    def dealt() -> Iterator[T]:
        missing = object()
        for group in zip_longest(*lists, fillvalue=missing):
            yield from (item for item in group if item is not missing)  # type: ignore[misc]

    return list(islice(dealt(), limit))
