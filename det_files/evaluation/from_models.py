"""Scores of models: each in turn answers the rows and reads the texts, alone in memory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from det_files.evaluation.arguments import MAX_NEW_TOKENS, model_names
from det_files.evaluation.asking import Asked, read_asked
from det_files.evaluation.metrics import PERPLEXITY, Scored, Statistics, of_texts, score
from det_files.evaluation.perplexity import DocumentLoss, TextLosses, score_texts
from det_files.evaluation.predictions import to_record
from det_files.evaluation.progress import Counter
from det_files.evaluation.questions import Question, questions_to
from det_files.evaluation.results import Measured, row_scores
from det_files.faults import ConfigError, Faults
from det_files.generation.answers import LENGTH, Answer
from det_files.generation.decoding import decode
from det_files.generation.sampling import Sampling
from det_files.local.terminal import Terminal
from det_files.trained.model import TUNED
from det_files.trained.pair import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OTHER = "other"  # the model of --compare
_TEXTS = 16  # documents between two lines of progress


def measure_models(options: argparse.Namespace, faults: Faults) -> tuple[Asked, list[Measured]]:
    """Returns what was asked, and each model's statistics.

    Args:
        options: of `arguments.parse`.
        faults: of its flags.

    Raises:
        ConfigError: see `read_asked`; templates refuse some rows, which is told of both
            checkpoints and before a model is loaded; or a model cannot be loaded.
    """
    asked = read_asked(options, faults)
    pairs = []
    if asked.other is not None:  # in the base's place: the difference is what CHECKPOINT gained
        pairs.append((Pair(asked.other, options.dtype), {TUNED: OTHER}))
    names = {name: name for name in model_names(options)}
    pairs.append((Pair(asked.checkpoint, options.dtype), names))
    questions = []
    for pair, _ in pairs:
        try:
            questions.append(questions_to(pair, asked.rows))
        except ConfigError as error:
            for fault in error.faults:
                faults.add(f"{pair.checkpoint.path}: {fault.path}", fault.message)
    faults.raise_if_any()
    found: list[Measured] = []
    for (pair, named), put in zip(pairs, questions, strict=True):
        found += _measure_pair(pair, named, asked, put, options)
    return asked, found


def _measure_pair(
    pair: Pair,
    names: dict[str, str],
    asked: Asked,
    questions: Sequence[Question],
    options: argparse.Namespace,
) -> list[Measured]:
    """The statistics of some of a pair's models, which are called by other names."""

    def measure(which: str, model: Any) -> Measured:
        return _measure(names[which], model, pair.tokenizer, asked, questions, options)

    found = list(pair.each(measure, list(names)).values())
    pair.release()
    return found


def _measure(
    name: str,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: Asked,
    questions: Sequence[Question],
    options: argparse.Namespace,
) -> Measured:
    """One model's statistics; `questions` are the rows of `asked` as its run has them."""
    statistics: Statistics = {}
    records, seconds = [], None
    if questions:
        prompts = [question.prompt for question in questions]
        answers, seconds = _answer(name, model, tokenizer, prompts, options)
        scored = [
            Scored(
                row.shown,
                answer.text,
                question.reference,
                len(answer.token_ids),
                answer.finish_reason == LENGTH,
            )
            for row, question, answer in zip(asked.rows, questions, answers, strict=True)
        ]
        statistics = score(asked.answer_metrics, scored, asked.gold)
        records = [
            to_record(place + 1, one, row_scores(statistics, place))
            for place, one in enumerate(scored)
        ]
    if PERPLEXITY in asked.metrics:
        statistics |= of_texts(_read(name, model, tokenizer, asked.texts))
    return Measured(name, statistics, records, seconds)


def _answer(
    name: str,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    options: argparse.Namespace,
) -> tuple[list[Answer], float]:
    """The answers, in order, and the seconds that they took."""
    terminal = Terminal()
    terminal.note(f"{name}: answering {len(prompts)} rows")  # the first answers take a while
    counter = Counter(terminal, name, len(prompts))
    sampling = Sampling(max_new_tokens=options.max_new_tokens or MAX_NEW_TOKENS)
    answers: dict[int, Answer] = {}
    for answer in decode(model, tokenizer, prompts, sampling, batch_size=options.batch_size):
        answers[answer.number] = answer
        counter.add()
    counter.finish()
    if full := sum(not answer.token_ids for answer in answers.values()):
        terminal.note(f"{name}: {full} prompts leave no room in the model's context: no answer")
    return [answers[number] for number in range(len(prompts))], counter.seconds


def _read(
    name: str, model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> TextLosses:
    counter = Counter(Terminal(), name, len(texts), "texts")
    documents: list[DocumentLoss] = []
    for start in range(0, len(texts), _TEXTS):
        part = texts[start : start + _TEXTS]
        documents += score_texts(model, tokenizer, part).documents
        counter.add(len(part))
    counter.finish()
    return TextLosses(tuple(documents))
