"""Compare a run's fine-tuned model with the base model it started from, on the test split.

    python -m det_files.evaluation.compare runs/smollm2_135m_quickstart/1 [--limit N] [--examples 5]

Takes the best trial's best checkpoint, answers every test row twice with the prompt of training,
prints both scores and some answers side by side, and puts them into the run's summary.json:

    evaluation: {split, trial, checkpoint,
                 base:      {rows, exact_match, exact_string_match, valid_json, …_count,
                             max_new_tokens, seconds},
                 finetuned: {the same},
                 examples:  [{input, reference, base, finetuned}]}

For LoRA one copy of the weights answers both times, with the adapter off and on.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from det_files.args import RunArgs, experiment_facts
from det_files.evaluation.exact_match import ExactMatch, score
from det_files.evaluation.questions import AskedRow, Question, make_questions, read_test_rows
from det_files.evaluation.side_by_side import render_examples, render_scores
from det_files.experiment import load_experiment
from det_files.faults import exit_on_config_error
from det_files.generation.decoding import generate_answers
from det_files.local.run_directory import RunDirectory, write_atomically
from det_files.models import SEQ2SEQ, load_model
from det_files.preference.answering import as_answering
from det_files.resolution import resolve_or_raise
from det_files.trained.locating import find_best_checkpoint, go_where_it_ran
from det_files.tuning.adapters import ADAPTER_FILE, load_adapter

# An answer may be this much longer than the longest reference, for line breaks and indentation.
ROOM_FOR_ANSWERS = 1.5


@dataclass(frozen=True)
class Finetuned:
    """What a run has produced: the trial, its checkpoint, and the arguments it was trained with."""

    trial: int
    checkpoint: Path
    args: RunArgs


@dataclass(frozen=True)
class Answers:
    """One model's answers to the test rows and how long they took."""

    texts: list[str]
    references: list[str]
    score: ExactMatch
    max_new_tokens: int  # where an answer was cut off
    seconds: float

    def to_dict(self) -> dict[str, float | int]:
        return {
            **self.score.to_dict(),
            "max_new_tokens": self.max_new_tokens,
            "seconds": round(self.seconds, 1),
        }


def find_finetuned(run: RunDirectory) -> Finetuned:
    """Returns what the run's best trial has produced.

    Raises:
        ConfigError: see `find_best_checkpoint`; the trial's experiment has faults here, or its
            model gives no answers.
    """
    best = find_best_checkpoint(run)
    experiment = load_experiment(best.directory / "experiment.yaml")
    slots = run.read_summary().get("slots", experiment.slots)
    flags = experiment.entrypoint.flags
    facts = experiment_facts(experiment, slots)
    args = resolve_or_raise(experiment.hyperparameters, flags, facts, Path.cwd())
    return Finetuned(best.trial, best.path, as_answering(args))


def answer(model: Any, tokenizer: Any, questions: Sequence[Question], batch_size: int) -> Answers:
    """Returns a model's scored answers to the questions."""
    started = time.monotonic()
    longest = max(question.reference_tokens for question in questions)
    limit = int(longest * ROOM_FOR_ANSWERS) + 1  # one for the end token
    prompts = [question.prompt for question in questions]
    texts = generate_answers(model, tokenizer, prompts, max_new_tokens=limit, batch_size=batch_size)
    references = [question.reference for question in questions]
    seconds = time.monotonic() - started
    return Answers(texts, references, score(texts, references), limit, seconds)


def answer_before_and_after(
    finetuned: Finetuned, rows: Sequence[AskedRow], batch_size: int
) -> tuple[Answers, Answers]:
    """Returns the answers of the base model and of the fine-tuned one."""
    args = finetuned.args
    kind = args.facts.kind
    model, tokenizer = load_model(args.model, kind=kind)
    questions = make_questions(rows, args.data, tokenizer, kind == SEQ2SEQ)
    if (finetuned.checkpoint / ADAPTER_FILE).is_file():
        model = load_adapter(model, str(finetuned.checkpoint))
        with model.disable_adapter():
            base = answer(model, tokenizer, questions, batch_size)
        return base, answer(model, tokenizer, questions, batch_size)
    base = answer(model, tokenizer, questions, batch_size)
    del model
    gc.collect()  # two whole models need not fit at once
    # A checkpoint need not hold the tokenizer; training does not change it.
    tokenizer_name = args.model.tokenizer_name or args.model.source
    source = replace(
        args.model, model_name_or_path=str(finetuned.checkpoint), tokenizer_name=tokenizer_name
    )
    model, _ = load_model(source, kind=kind)
    return base, answer(model, tokenizer, questions, batch_size)


def compare(
    run_dir: Path, limit: int | None = None, examples: int = 5, batch_size: int = 32
) -> dict[str, Any]:
    """Evaluates a run before and after, prints it, and returns summary.json's new `evaluation`."""
    run = RunDirectory(run_dir)
    go_where_it_ran(run)
    finetuned = find_finetuned(run)
    rows = read_test_rows(finetuned.args.data, limit)
    print(f"answering {len(rows)} test rows, before and after fine-tuning", flush=True)
    base, after = answer_before_and_after(finetuned, rows, batch_size)
    shown = [
        {"input": row.shown, "reference": reference, "base": before, "finetuned": now}
        for row, reference, before, now in zip(
            rows, base.references, base.texts, after.texts, strict=True
        )
    ][:examples]
    print(render_examples(shown))
    print(render_scores(base.score, after.score))
    evaluation = {
        "split": "test",
        "trial": finetuned.trial,
        "checkpoint": finetuned.checkpoint.name,
        "base": base.to_dict(),
        "finetuned": after.to_dict(),
        "examples": shown,
    }
    # Read again: minutes have passed, and whatever else has been noted meanwhile is kept.
    summary = run.read_summary() | {"evaluation": evaluation}
    write_atomically(run.summary_file, json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return evaluation


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m det_files.evaluation.compare",
        description="Answers the test split before and after fine-tuning, and compares.",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="runs/<name>/<number>")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N test rows alone")
    parser.add_argument("--examples", type=int, default=5, metavar="N", help="answers to show")
    parser.add_argument("--batch-size", type=int, default=32, metavar="ROWS")
    args = parser.parse_args(argv)
    run_dir = args.run_dir.resolve()  # compare may go where the run was started
    compare(run_dir, args.limit, args.examples, args.batch_size)
    print(f"report: {run_dir / 'report.html'}")
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
