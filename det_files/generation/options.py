"""What a generation is asked for on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from det_files.data.sources import SPLITS
from det_files.faults import Faults
from det_files.generation.sampling import add_sampling_flags, find_too_small, sampling_of
from det_files.models import DTYPES
from det_files.trained.model import MODELS, TUNED

TRANSFORMERS, VLLM = "transformers", "vllm"
ENGINES = (TRANSFORMERS, VLLM)
REFUSE, CUT = "refuse", "cut"
ANSWER_FIELD = "answer"
# What stands in a line of the output beside the row's own fields and the answer.
OWN_FIELDS = ("row", "sequence", "num_generated_tokens", "finish_reason", "prompt_cut")


def parse(argv: Sequence[str] | None, prog: str, text: str) -> argparse.Namespace:
    """Reads the command line; `find_option_faults` has not been asked."""
    parser = argparse.ArgumentParser(prog=prog, description=text)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="directory, run directory, or Determined UUID"
    )
    parser.add_argument("input", type=Path, nargs="?", metavar="INPUT.jsonl", help="or .jsonl.zst")
    parser.add_argument("--split", choices=SPLITS, help="of the run's own sources, for INPUT")
    parser.add_argument("--output", type=Path, required=True, metavar="OUTPUT.jsonl")
    parser.add_argument("--resume", action="store_true", help="go on with an OUTPUT that was begun")
    parser.add_argument("--model", choices=MODELS, default=TUNED, help="default: %(default)s")
    parser.add_argument("--source", metavar="NAME", help="of the run, whose formats are taken")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N rows alone")
    parser.add_argument("--answer-field", default=ANSWER_FIELD, metavar="NAME", help="in OUTPUT")
    parser.add_argument(
        "--too-long", choices=(CUT, REFUSE), default=REFUSE, help="prompts; default: %(default)s"
    )
    parser.add_argument("--engine", choices=ENGINES, default=TRANSFORMERS)
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights; default: the run's")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="answers at once, of a rank; default: by lengths",
    )
    add_sampling_flags(parser)
    return parser.parse_args(argv)


def find_option_faults(options: argparse.Namespace, faults: Faults) -> None:
    """Notes what the flags alone show to be wrong."""
    if (options.input is None) == (options.split is None):
        faults.add("INPUT", "expected either a file of rows or --split")
    find_too_small(options, faults, limit=1, batch_size=1)
    if options.answer_field in (*OWN_FIELDS, ""):
        reason = f"{options.answer_field!r} is not free: the output has {', '.join(OWN_FIELDS)}"
        faults.add("--answer-field", reason)
    sampling = sampling_of(options)
    sampling.find_faults(faults)
    if options.engine == VLLM and sampling.num_beams > 1:
        faults.add("--num-beams", f"--engine {VLLM} has no search with beams")


def request_of(options: argparse.Namespace, **facts: Any) -> dict[str, Any]:
    """All that answers depend on, by flag; not how fast they are had (batch size, ranks)."""
    free = ("checkpoint", "input", "output", "resume", "batch_size")
    flags = {
        f"--{name.replace('_', '-')}": value
        for name, value in vars(options).items()
        if name not in free
    }
    return flags | facts
