"""Score a trained model's answers, against its base model's or another's, with intervals.

    python -m det_files.evaluate CHECKPOINT [--model tuned|base|both] [--compare OTHER]
        [--data FILE | --split test] [--m2 GOLD.m2] [--perplexity-text FILE] [--metrics A,B]
        [--max-new-tokens N] [--limit N] [--output DIR|FILE.json]
    python -m det_files.evaluate CHECKPOINT --engine lm-eval --tasks hellaswag,arc_easy
    python -m det_files.evaluate --predictions FILE [--predictions2 FILE] --metrics A,B

CHECKPOINT is a checkpoint's directory, a run's, whose best one is then taken, or the UUID of one
that Determined has. See docs/evaluate.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from det_files.evaluation.arguments import LM_EVAL, find_flag_faults, parse
from det_files.evaluation.metrics import Score, scores_of
from det_files.evaluation.output import find_output_faults, write_output
from det_files.evaluation.results import Measured, to_results
from det_files.faults import Faults, exit_on_config_error

# What was evaluated, each model's statistics, and what each score is.
Found = tuple[dict[str, Any], list[Measured], Mapping[str, Score]]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse(argv, (__doc__ or "").split("\n")[0])
    faults = Faults()
    find_flag_faults(options, faults)
    find_output_faults(options.output, faults)
    if options.engine == LM_EVAL:
        facts, measured, scores = run_tasks(options, faults)
    elif options.predictions is not None:
        facts, measured, scores = score_files(options, faults)
    else:
        facts, measured, scores = score_models(options, faults)
    results = to_results(measured, scores)
    print(results.render(), flush=True)
    if options.output is not None:
        print(write_output(options.output, measured, results, facts, options))
    return 0


def score_models(options: argparse.Namespace, faults: Faults) -> Found:
    """Has models answer rows and read texts."""
    from det_files.evaluation.from_models import measure_models

    asked, measured = measure_models(options, faults)
    return asked.facts(), measured, scores_of(asked.metrics)


def score_files(options: argparse.Namespace, faults: Faults) -> Found:
    """Reads answers that were given before."""
    from det_files.evaluation.from_files import measure_files

    names, measured = measure_files(options, faults)
    return {"rows": len(measured[0].records)}, measured, scores_of(names)


def run_tasks(options: argparse.Namespace, faults: Faults) -> Found:
    """Has lm-evaluation-harness ask its own questions."""
    from det_files.evaluation.harness import measure_tasks

    return measure_tasks(options, faults)


if __name__ == "__main__":
    exit_on_config_error(main)
