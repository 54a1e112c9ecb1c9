"""Tasks within an evaluation: batches are dealt over the ranks, and every rank scores all of them.

Batches are the same for every number of ranks, so that a score is, too, in any precision; but under
ZeRO-3 other code makes the answers, which are the same in float32 alone. There all ranks must call
the model equally often, since each call gathers weights: each has as many batches as the others,
and goes on with one until the last rank has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from det_files.compilation import uncompiled
from det_files.data.arguments import DataArguments
from det_files.data.dataset import TrainingData
from det_files.evaluation.metrics import of_texts, score
from det_files.evaluation.perplexity import score_windows
from det_files.evaluation.task_rows import TaskRows, load_rows
from det_files.evaluation.task_texts import TaskTexts, load_texts
from det_files.evaluation.tasks import SECTION, TaskArguments
from det_files.faults import ConfigError, Faults
from det_files.generation.answers import LENGTH, Answer, make_answer
from det_files.generation.decoding import decode, evaluating
from det_files.generation.positions import room_for_answer
from det_files.generation.sampling import Sampling
from det_files.generation.searching import search, search_batches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class LoadedTask:
    """A task with the rows, or the texts, that it is of."""

    name: str
    args: TaskArguments
    content: TaskRows | TaskTexts


def load_tasks(
    tasks: Mapping[str, TaskArguments],
    args: DataArguments,
    data: TrainingData,
    tokenizer: PreTrainedTokenizerBase,
    model: torch.nn.Module,
) -> list[LoadedTask]:
    """Returns the tasks of a run with what they are of.

    Raises:
        ConfigError: with the faults of all of them.
    """
    faults, loaded = Faults(), []
    for name, task in tasks.items():
        try:
            content: TaskRows | TaskTexts
            if task.reads_texts:
                content = load_texts(name, task, args, tokenizer, model)
            else:
                content = load_rows(name, task, args, data, tokenizer)
                _warn_of_full(name, content, model)
            loaded.append(LoadedTask(name, task, content))
        except ConfigError as error:
            for fault in error.faults:
                own = fault.path.startswith(SECTION)
                faults.add(
                    *(fault.path, fault.message) if own else (f"{SECTION}.{name}", str(fault))
                )
    faults.raise_if_any()
    return loaded


def _warn_of_full(name: str, rows: TaskRows, model: torch.nn.Module) -> None:
    full = sum(not room_for_answer(model, len(prompt), 1) for prompt in rows.prompts)
    if full:
        logger.warning(
            "%s.%s: %d of %d prompts leave no room in the model's context: they have no answer",
            SECTION,
            name,
            full,
            len(rows.prompts),
        )


def score_tasks(trainer: Any, tasks: Sequence[LoadedTask]) -> dict[str, float]:
    """{"<task>_<score>": value} of the model that a trainer has; all ranks call this in step.

    The model and all random states are left as they were; nothing is drawn, dropout is off.
    """
    found: dict[str, float] = {}
    model = trainer.model
    with uncompiled(model), evaluating(model), trainer.compute_loss_context_manager():
        for task in tasks:
            if isinstance(task.content, TaskTexts):
                statistics = of_texts(task.content.losses(_read(trainer, task.content)))
            else:
                rows, gold = task.content.rows, task.content.gold
                answers = _answer(trainer, task.content, task.args)
                answered = [
                    replace(
                        row,
                        answer=answer.text,
                        tokens=answer.num_generated_tokens,
                        cut_off=answer.finish_reason == LENGTH,
                    )
                    for row, answer in zip(rows, answers, strict=True)
                ]
                statistics = score(task.args.metrics, answered, gold)
            found |= {f"{task.name}_{name}": rows.value for name, rows in statistics.items()}
    return found


def _read(trainer: Any, texts: TaskTexts) -> torch.Tensor:
    """[D, 3]: each document's loss, scored tokens, and tokens guessed right."""

    def score_batch(number: int) -> list[list[float]]:
        found = score_windows(trainer.model, texts.documents, texts.batches[number])
        return [list(map(float, sums)) for sums in found.tolist()]

    sums = torch.zeros(len(texts.documents), 3, dtype=torch.float64)
    found = _dealt(trainer, len(texts.batches), score_batch)
    for windows, of_windows in zip(texts.batches, found, strict=True):
        for window, numbers in zip(windows, of_windows, strict=True):
            sums[window.document] += torch.tensor(numbers, dtype=torch.float64)
    return sums


def _answer(trainer: Any, content: TaskRows, args: TaskArguments) -> list[Answer]:
    """The greedy answers to all rows."""
    model, tokenizer = trainer.model, trainer.processing_class
    sampling, prompts = Sampling(max_new_tokens=args.max_new_tokens), content.prompts
    # An answer is empty where the prompt leaves it no position.
    answers = [make_answer(tokenizer, [], [], number) for number in range(len(prompts))]
    places = [i for i in range(len(prompts)) if room_for_answer(model, len(prompts[i]), 1)]
    fitting = [prompts[i] for i in places]
    batches = list(search_batches(model, fitting, sampling, args.batch_size))
    way = search if _in_step(trainer) else decode

    def answer_batch(number: int) -> list[Answer]:
        batch = batches[number]
        asked, numbers = [fitting[i] for i in batch], [places[i] for i in batch]
        size = args.batch_size
        return list(way(model, tokenizer, asked, sampling, batch_size=size, numbers=numbers))

    for found in _dealt(trainer, len(batches), answer_batch):
        for answer in found:
            answers[answer.number] = answer
    return answers


def _dealt(trainer: Any, count: int, work: Callable[[int], T]) -> list[T]:
    """What `work` returns for 0 … count - 1, each done by one rank, on all ranks."""
    from accelerate.utils import gather_object

    ranks, rank = trainer.accelerator.num_processes, trainer.accelerator.process_index
    own = list(range(rank, count, ranks))
    if _in_step(trainer):
        own += [count - 1] * (-(-count // ranks) - len(own))
    found = dict(gather_object([(number, work(number)) for number in own]))
    return [found[number] for number in range(count)]


def _in_step(trainer: Any) -> bool:
    """Whether the ranks must call the model equally often."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    return trainer.accelerator.num_processes > 1 and bool(is_deepspeed_zero3_enabled())
