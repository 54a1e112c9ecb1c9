"""The command line of an evaluation, and what cannot be said together on it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from det_files.data.sources import SPLITS
from det_files.evaluation.metrics import METRICS, PERPLEXITY, find_unknown
from det_files.faults import Faults
from det_files.generation.sampling import find_too_small, flag
from det_files.models import DTYPES
from det_files.trained.model import BASE, MODELS, TUNED

BOTH = "both"
OWN, LM_EVAL = "own", "lm-eval"
MAX_NEW_TOKENS = 256
LM_EVAL_BATCH_SIZE = 32

# By what is evaluated, the flags that say how; any other has no effect there.
_OF_FILES_ALONE = {"predictions", "predictions2", "answer_field", "reference_field"}
_OF_FILES = _OF_FILES_ALONE | {"metrics", "m2", "limit", "output", "engine"}
_OF_HARNESS = {"checkpoint", "model", "tasks", "num_fewshot", "limit", "batch_size", "dtype"} | {
    "output",
    "engine",
}
_OF_HARNESS_ALONE = {"tasks", "num_fewshot"}


def parse(argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Returns what was said; `find_flag_faults` has not been asked."""
    parser = argparse.ArgumentParser(prog="python -m det_files.evaluate", description=description)
    add = parser.add_argument
    add("checkpoint", nargs="?", metavar="CHECKPOINT", help="a directory, a run's, or a UUID")
    add("--model", choices=(*MODELS, BOTH), help="whose answers are scored (default: both)")
    add("--compare", metavar="OTHER", help="a second checkpoint, in place of the base")
    add("--split", choices=SPLITS, help="rows of the run's sources (default: test)")
    add("--data", type=Path, metavar="FILE", help="rows of a file, in the run's format")
    add("--source", metavar="NAME", help="the run's source whose rows, or formats, are taken")
    add("--limit", type=int, metavar="N", help="the first N rows alone")
    names = ",".join(METRICS)
    add("--metrics", type=_names, metavar="A,B", help=f"default: what fits the rows; of {names}")
    add("--m2", type=Path, metavar="GOLD.m2", help="gold corrections; its sources are asked")
    add("--perplexity-text", type=Path, metavar="FILE", help="texts for the perplexity")
    add("--max-new-tokens", type=int, metavar="N", help=f"of an answer ({MAX_NEW_TOKENS})")
    text = f"answers at once (by lengths; {LM_EVAL}: {LM_EVAL_BATCH_SIZE})"
    add("--batch-size", type=int, metavar="N", help=text)
    add("--dtype", choices=DTYPES, help="of the weights; default: the run's")
    add("--predictions", type=Path, metavar="FILE", help="score a file of answers, without a model")
    add("--predictions2", type=Path, metavar="FILE", help="answers to compare with those")
    add("--answer-field", metavar="NAME", help="of those files (answer)")
    add("--reference-field", metavar="NAME", help="of those files (output)")
    add("--engine", choices=(OWN, LM_EVAL), default=OWN, help="default: own")
    add("--tasks", type=_names, metavar="A,B", help="of lm-evaluation-harness")
    add("--num-fewshot", type=int, metavar="N", help="examples before a question (the task's own)")
    add("--output", type=Path, metavar="DIR|FILE.json", help="results, and the answers beside them")
    return parser.parse_args(argv)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def model_names(options: argparse.Namespace) -> list[str]:
    """Whose answers are asked for, `base` before `tuned`."""
    chosen = options.model or (TUNED if options.compare else BOTH)
    return [BASE, TUNED] if chosen == BOTH else [chosen]


def find_flag_faults(options: argparse.Namespace, faults: Faults) -> None:
    """Notes what is missing, out of range, unknown, or without an effect."""
    _find_idle(options, faults)
    if options.metrics is not None:
        find_unknown("--metrics", options.metrics, faults)
        if not options.metrics:
            faults.add("--metrics", "names none")
    find_too_small(options, faults, limit=1, max_new_tokens=1, batch_size=1, num_fewshot=0)
    if options.compare and options.model == BOTH:
        faults.add("--compare", "compares one model with it: --model tuned or base")
    if options.data and options.split:
        faults.add("--data", "takes the place of --split: say one of them")
    if options.m2 and options.split and not options.predictions:
        faults.add("--split", "has no effect with --m2, whose sentences are asked")
    if options.perplexity_text and options.metrics and PERPLEXITY not in options.metrics:
        faults.add("--perplexity-text", f"has no effect: --metrics does not name {PERPLEXITY}")
    if options.engine == LM_EVAL and not options.tasks:
        faults.add("--tasks", "--engine lm-eval needs the names of its tasks")


def _find_idle(options: argparse.Namespace, faults: Faults) -> None:
    """Notes flags that have no effect on what is evaluated."""
    said = {name for name, value in vars(options).items() if value is not None}
    if options.engine == LM_EVAL:
        subject, used = "with --engine lm-eval", _OF_HARNESS
    elif options.predictions:
        subject, used = "with --predictions, whose answers are there", _OF_FILES
    else:
        subject, used = "without --engine lm-eval", set(vars(options)) - _OF_HARNESS_ALONE
        for name in sorted(_OF_FILES_ALONE & said):
            faults.add(flag(name), "has no effect without --predictions")
    for name in vars(options):
        if name in said - used:
            where = "CHECKPOINT" if name == "checkpoint" else flag(name)
            faults.add(where, f"has no effect {subject}")
    if options.checkpoint is None and (options.engine == LM_EVAL or not options.predictions):
        faults.add("CHECKPOINT", "expected a checkpoint (directory, run or UUID), or --predictions")
