"""Compare a run's fine-tuned model with the base model it started from, on the test split.

    python -m det_files.evaluation.compare runs/smollm2_135m_quickstart/1 [--limit N] [--examples 5]

Takes the best trial's best checkpoint, answers every test row twice with the prompt of training
(whole: `max_input_tokens` cuts what is learned from, not what is asked), prints both scores and
some answers side by side, and puts them into the run's summary.json:

    evaluation: {split, trial, checkpoint,
                 base:      {rows, exact_match, exact_string_match, valid_json, …_count,
                             max_new_tokens, seconds},
                 finetuned: {the same},
                 examples:  [{input, reference, base, finetuned}]}

For LoRA one copy of the weights answers both times, with the adapter off and on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.evaluation.exact_match import ExactMatch, score
from det_files.evaluation.progress import Counter
from det_files.evaluation.questions import Question, answer_limit, answerable_rows, questions_to
from det_files.evaluation.side_by_side import render_examples, render_scores
from det_files.faults import Faults, exit_on_config_error
from det_files.generation.decoding import generate_answers
from det_files.generation.positions import room_for_answer
from det_files.generation.sampling import find_too_small
from det_files.local.run_directory import RunDirectory, write_atomically
from det_files.local.terminal import Terminal
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.locating import find_best_checkpoint
from det_files.trained.model import BASE, TUNED
from det_files.trained.pair import NAMES, Pair


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


def answer(
    name: str, model: Any, tokenizer: Any, questions: Sequence[Question], batch_size: int | None
) -> Answers:
    """Returns a model's scored answers to the questions; `name` is what progress calls it."""
    counter = Counter(Terminal(), name, len(questions))
    limit = answer_limit(question.reference_tokens for question in questions)
    prompts = [question.prompt for question in questions]
    texts = generate_answers(
        model,
        tokenizer,
        prompts,
        max_new_tokens=limit,
        batch_size=batch_size,
        on_answer=counter.add,
    )
    counter.finish()
    references = [question.reference or "" for question in questions]  # test rows have one
    return Answers(texts, references, score(texts, references), limit, counter.seconds)


def compare(
    run_dir: Path, limit: int | None = None, examples: int = 5, batch_size: int | None = None
) -> dict[str, Any]:
    """Evaluates a run before and after, prints it, and returns summary.json's new `evaluation`.

    Raises:
        ConfigError: there is no run, or no whole checkpoint of it; what was trained gives no
            answers; test rows are not there, lack their answers, or do not fit the template.
    """
    run = RunDirectory(run_dir)
    best = find_best_checkpoint(run)
    pair = Pair(open_checkpoint(best.path))
    rows = answerable_rows(pair, limit)
    questions = questions_to(pair, rows)
    print(f"answering {len(rows)} test rows, before and after fine-tuning", flush=True)

    def ask(which: str, model: Any) -> Answers:
        given = answer(NAMES[which], model, pair.tokenizer, questions, batch_size)
        rooms = [room_for_answer(model, len(q.prompt), given.max_new_tokens) for q in questions]
        if full := rooms.count(0):
            print(f"{NAMES[which]}: {full} prompts leave no room in the model's context")
        return given

    answers = pair.each(ask)
    base, after = answers[BASE], answers[TUNED]
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
        "trial": best.trial,
        "checkpoint": best.path.name,
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
    parser.add_argument("--batch-size", type=int, metavar="ROWS")
    args = parser.parse_args(argv)
    faults = Faults()
    find_too_small(args, faults, limit=1, examples=0, batch_size=1)
    faults.raise_if_any()
    compare(args.run_dir, args.limit, args.examples, args.batch_size)
    print(f"report: {args.run_dir / 'report.html'}")
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
