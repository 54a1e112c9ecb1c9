"""Throughput of ours beside TRL's SFTTrainer and a plain padded Trainer, in one run.

    python -m benchmarks.throughput --model models/smollm2-135m-instruct --data ../shared/data/gsm8k
    python -m benchmarks.throughput --method full --json results.json …

Same rows, chat template, loss on answers only, LoRA, optimizer, learning rate and tokens a step.
TRL runs without the gradient checkpointing that is its default, and slower. Its layouts and batch
sizes are tried first, then precisions of the best one, then that one compiled, by layers and as a
whole, if it is warm within --limit-s. The best of each family then take turns, with the products of
the model's own shapes among them, which bound what could be reached.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.contenders import work as contenders
from benchmarks.contenders.measuring import Entrant, Measuring
from benchmarks.contenders.rows import IGNORED, read_rows, tokenize
from benchmarks.contenders.work import Contender, Work
from benchmarks.report import lines_of_ratios, ratios, table


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--model", required=True, help="a directory, or a hub id")
    add("--data", required=True, type=Path, help="a directory with train/*.jsonl")
    add("--method", choices=("lora", "full"), default="lora")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add(
        "--dtype",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="auto: bfloat16 where the hardware computes in it, else float32",
    )
    add("--rows", type=int, default=1000, help="rows of train, the first ones")
    add("--block-size", type=int, default=1024, help="tokens of a packed block")
    add("--tokens-per-step", type=int, default=2048, help="tokens of an optimizer step, about")
    add("--learning-rate", type=float, help="default: 1e-4 for LoRA, 1e-5 for full")
    add("--optim", default="adamw_torch", help="TrainingArguments' optim")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    add("--rounds", type=int, default=3, help="turns of each contender; medians are over them")
    add("--steps", type=int, default=2, help="optimizer steps of a turn")
    add(
        "--limit-s",
        type=float,
        default=600.0,
        help="seconds that a contender may take until it is warm, compiling included",
    )
    add("--no-compile", action="store_true", help="compile nobody's model")
    add("--only-ours", action="store_true", help="ours and the ceiling alone")
    add(
        "--only",
        action="append",
        metavar="WORDS",
        help="of a family, only configurations whose name begins so, where there are any; to "
        "measure again what is known to be best (may be repeated)",
    )
    add("--json", type=Path, help="write everything here")
    options = parser.parse_args(argv)
    for name in ("rows", "block_size", "tokens_per_step", "threads", "rounds", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected > 0")
    return options


def make_work(options: argparse.Namespace) -> Work:
    """What all do alike; what is `auto` is decided by the machine, lengths by the rows."""
    from transformers import AutoTokenizer

    device, dtype = options.device, options.dtype
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "bfloat16" if machine.has_bfloat16(device) else "float32"
    model = str(Path(options.model).resolve()) if Path(options.model).is_dir() else options.model
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = read_rows(options.data, options.rows)
    tokenized = [tokenize(row, tokenizer) for row in rows]
    learned = [sum(label != IGNORED for label in row["labels"]) for row in tokenized]
    return Work(
        model=model,
        data=str(options.data.resolve()),
        method=options.method,
        dtype=dtype,
        device=device,
        rows=len(rows),
        row_tokens=statistics.mean(len(row["input_ids"]) for row in tokenized),
        row_supervised=statistics.mean(learned),
        tokens_per_step=options.tokens_per_step,
        block_size=options.block_size,
        learning_rate=options.learning_rate or (1e-4 if options.method == "lora" else 1e-5),
        optim=options.optim,
        threads=options.threads,
    )


def compare(measuring: Measuring, options: argparse.Namespace) -> None:
    """Tries all configurations, and lets the best of each family take turns."""
    work = measuring.work
    finalists: list[Entrant] = []
    if not options.only_ours:
        if words := _missing_trl():
            print(words, file=sys.stderr)
        else:
            finalists += _best_of_trl(measuring, options)
        finalists += measuring.best_of(contenders.of_padded_trainer(work))
    ours = contenders.of_ours(work, not options.no_compile)
    finalists += measuring.best_of(_chosen(ours, options.only))
    ceiling = Contender(contenders.CEILING, "products", work.dtype)
    finalists += measuring.best_of([ceiling])
    measuring.rounds(finalists, options.rounds)


def _missing_trl() -> str | None:
    from benchmarks.contenders.trl_sft import missing

    return missing()


def _chosen(candidates: list[Contender], only: Sequence[str] | None) -> list[Contender]:
    chosen = [one for one in candidates if one.name.startswith(tuple(only or ()))]
    return chosen or candidates


def _best_of_trl(measuring: Measuring, options: argparse.Namespace) -> list[Entrant]:
    work = measuring.work
    best = measuring.best_of(_chosen(contenders.of_trl(work), options.only), keep=2)
    if best:
        chosen = best[0].contender
        others = contenders.precisions(work.dtype)[1:]
        more = [dataclasses.replace(chosen, **precision) for precision in others]
        best = measuring.keep([*best, *measuring.best_of(more)], 2)
    if best and not options.no_compile:
        chosen = best[0].contender
        more = [dataclasses.replace(chosen, compiled=how) for how in ("layers", "whole")]
        best = measuring.keep([*best, *measuring.best_of(more)], 2)
    return best


def report(measuring: Measuring, described: dict[str, Any], options: argparse.Namespace) -> None:
    """Prints the table and the ratios; writes the JSON file."""
    work, tried = measuring.work, measuring.tried
    found = ratios(tried)
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    where = described["gpu"] if work.device == "cuda" else described["cpu"]
    print(f"{described['date']}, {where}, {described['cores']} cores; {versions}")
    print(
        f"{work.method}, {work.dtype} on {work.device}, {work.rows} rows of {work.row_tokens:.0f} "
        f"tokens, {work.row_supervised:.0f} learned; about {work.tokens_per_step} tokens a step; "
        f"medians of {options.rounds} rounds of {options.steps} steps\n"
    )
    print(table(tried))
    for entrant in tried:
        if gflops := entrant.median("gflops_per_second"):
            print(f"matrix products: {gflops:.0f} GFLOP/s at the model's shapes")
    print(f"\n{lines_of_ratios(found)}")
    if options.json:
        everything = {
            "machine": described,
            "work": dataclasses.asdict(work),
            "options": {name: _plain(value) for name, value in vars(options).items()},
            "contenders": [entrant.to_mapping() for entrant in tried],
            "ratios": found,
        }
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    described = machine.describe()
    work = make_work(options)
    with tempfile.TemporaryDirectory(prefix="throughput-") as directory:
        measuring = Measuring(work, Path(directory), options.steps, options.limit_s)
        try:
            compare(measuring, options)
        finally:
            measuring.end()
        report(measuring, described, options)
    ours = ratios(measuring.tried)["matrix_ceiling"]
    return 0 if ours is not None else 1


if __name__ == "__main__":
    sys.exit(main())
