"""Scores of models: each in turn answers the rows and reads the texts; one is in memory a time."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

from det_files.data.rows import BadRows
from det_files.data.templates import NotRendered
from det_files.evaluation.arguments import BATCH_SIZE, MAX_NEW_TOKENS, model_names
from det_files.evaluation.asking import Asked, read_asked
from det_files.evaluation.metrics import PERPLEXITY, Scored, Statistics, of_texts, score
from det_files.evaluation.perplexity import DocumentLoss, TextLosses, score_texts
from det_files.evaluation.predictions import to_record
from det_files.evaluation.progress import Counter
from det_files.evaluation.questions import AskedRow
from det_files.evaluation.results import Measured, row_scores
from det_files.faults import Faults
from det_files.generation.answers import LENGTH, Answer
from det_files.generation.decoding import decode
from det_files.generation.sampling import Sampling
from det_files.local.terminal import Terminal
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.model import BASE, TUNED, TrainedModel, load_base, load_trained
from det_files.trained.prompts import Prompts

OTHER = "other"  # the model of --compare
_TEXTS = 16  # documents between two lines of progress
Made = TypeVar("Made")


def measure_models(options: argparse.Namespace, faults: Faults) -> tuple[Asked, list[Measured]]:
    """Returns what was asked, and each model's statistics.

    Args:
        options: of `arguments.parse`.
        faults: of its flags.

    Raises:
        ConfigError: see `read_asked`; a model cannot be loaded, or its template takes no row.
    """
    asked = read_asked(options, faults)
    terminal = Terminal()

    def measure(name: str, trained: TrainedModel) -> Measured:
        return _measure(name, trained, asked, options, terminal)

    found: list[Measured] = []
    if asked.other is not None:  # in the base's place: the difference is what CHECKPOINT gained
        found += in_turn(
            asked.other, [TUNED], options.dtype, lambda _, trained: measure(OTHER, trained)
        )
        gc.collect()
    found += in_turn(asked.checkpoint, model_names(options), options.dtype, measure)
    return asked, found


def in_turn(
    checkpoint: TrainedCheckpoint,
    names: Sequence[str],
    dtype: str | None,
    measure: Callable[[str, TrainedModel], Made],
) -> list[Made]:
    """Returns what `measure` finds of the models named (base, tuned).

    An adapter's are one copy of the weights; of whole models one is let go before the next is
    loaded.

    Raises:
        ConfigError: one cannot be loaded.
    """
    found = []
    if checkpoint.is_adapter:
        trained = load_trained(checkpoint, dtype)
        for name in names:
            with trained.answering_as(name):
                found.append(measure(name, trained))
    else:
        for name in names:
            load = load_base if name == BASE else load_trained
            found.append(measure(name, load(checkpoint, dtype)))
            gc.collect()
    return found


def _measure(
    name: str,
    trained: TrainedModel,
    asked: Asked,
    options: argparse.Namespace,
    terminal: Terminal,
) -> Measured:
    statistics: Statistics = {}
    records, seconds = [], None
    if asked.rows:
        scored, seconds = _answer(name, trained, asked.rows, options, terminal)
        statistics = score(asked.answer_metrics, scored, asked.gold)
        records = [
            to_record(place + 1, one, row_scores(statistics, place))
            for place, one in enumerate(scored)
        ]
    if PERPLEXITY in asked.metrics:
        statistics |= of_texts(_read(name, trained, asked.texts, terminal))
    return Measured(name, statistics, records, seconds)


def _answer(
    name: str,
    trained: TrainedModel,
    rows: Sequence[AskedRow],
    options: argparse.Namespace,
    terminal: Terminal,
) -> tuple[list[Scored], float]:
    """The rows with their answers, in order, and the seconds that these took."""
    prompts, references = make_prompts(trained, rows)
    sampling = Sampling(max_new_tokens=options.max_new_tokens or MAX_NEW_TOKENS)
    terminal.note(f"{name}: answering {len(rows)} rows")  # the first answers take a while
    counter = Counter(terminal, name, len(rows))
    answers: dict[int, Answer] = {}
    size = options.batch_size or BATCH_SIZE
    for answer in decode(trained.model, trained.tokenizer, prompts, sampling, batch_size=size):
        answers[answer.number] = answer
        counter.add()
    counter.finish()
    if full := sum(not answer.token_ids for answer in answers.values()):
        terminal.note(f"{name}: {full} prompts leave no room in the model's context: no answer")
    scored = [
        Scored(
            row.shown, found.text, reference, len(found.token_ids), found.finish_reason == LENGTH
        )
        for number, (row, reference) in enumerate(zip(rows, references, strict=True))
        for found in [answers[number]]
    ]
    return scored, counter.seconds


def make_prompts(
    trained: TrainedModel, rows: Sequence[AskedRow]
) -> tuple[list[list[int]], list[str | None]]:
    """Returns the rows' prompts as training makes them, and what is right as it is to be said.

    Raises:
        ConfigError: the template does not take some of the rows, or they have no tokens.
    """
    labels = {source.label for source in trained.data.settled_sources()}
    made: dict[str | None, Prompts] = {}
    prompts, references, bad = [], [], BadRows("")
    for row in rows:
        label = row.source.label if row.source.label in labels else None
        if label not in made:
            made[label] = trained.prompts(label)
        try:
            prompts.append(made[label].tokens(row.row))
        except NotRendered as error:
            bad.add(row.place, str(error))
            continue
        if not prompts[-1]:
            bad.add(row.place, "is empty: there is no prompt to answer")
        answer = row.answer
        if answer is not None and "messages" not in row.row:
            answer = made[label].template.render_answer(answer)
        references.append(answer)
    bad.raise_if_any()
    return prompts, references


def _read(name: str, trained: TrainedModel, texts: Sequence[str], terminal: Terminal) -> TextLosses:
    counter = Counter(terminal, name, len(texts), "texts")
    documents: list[DocumentLoss] = []
    for start in range(0, len(texts), _TEXTS):
        part = texts[start : start + _TEXTS]
        documents += score_texts(trained.model, trained.tokenizer, part).documents
        counter.add(len(part))
    counter.finish()
    return TextLosses(tuple(documents))
