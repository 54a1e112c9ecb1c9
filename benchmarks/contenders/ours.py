"""Ours: the way of det_files.run_clm, from hyperparameters to `train()`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.contenders.pacing import Assignment, Pacer
from benchmarks.contenders.work import LORA, Contender, Work, training_arguments
from det_files.args import RunArgs, RunFacts
from det_files.cluster.context import open_core
from det_files.data.dataset import TrainingData, load_data
from det_files.data.layout import collator_of, lay_out
from det_files.models import load_model
from det_files.resolution import resolve_or_raise
from det_files.training import build_trainer
from det_files.training_arguments import make_training_arguments
from det_files.tuning.methods import apply_tuning


def hyperparameters(work: Work, contender: Contender, cache: Path) -> dict[str, Any]:
    """What an experiment file would hold."""
    return {
        "model_arguments": {
            "model_name_or_path": work.model,
            "dtype": work.dtype,
            "compile": contender.compiled,
        },
        "data_arguments": {
            "sources": [{"path": work.data}],
            "packing": "blocks" if contender.layout == "blocks" else True,
            "block_size": work.block_size,
            "max_train_samples": work.rows,
            "max_eval_samples": 1,  # nobody evaluates here; the others prepare no val split
            "cache_dir": str(cache),
        },
        "tuning_arguments": {"method": "full"}
        if work.method == "full"
        else {"method": "lora", **LORA},
        "training_arguments": training_arguments(work, contender),
    }


def run(given: Assignment) -> None:
    """Trains; the token cache, empty at first, and results lie in its place."""
    values = hyperparameters(given.work, given.contender, given.place / "tokens")
    facts = RunFacts(name="throughput", slots=1, trial_dir=given.place / "trial")
    args = resolve_or_raise(values, [], facts, Path.cwd())
    with open_core(args) as core:
        training_args = make_training_arguments(
            args.training, args.deepspeed, core.output_dir, core.on_cpu
        )
        model, tokenizer = load_model(args.model, args.load_dtype, training_args.seed)
        data, prepared, aside_s = _timed_data(args, tokenizer, model, training_args.seed)
        model = apply_tuning(
            model, args.tuning, tokenizer, training_args.seed, args.float32_adapters
        )
        trainer = build_trainer(args, training_args, model, tokenizer, data, core)
        Pacer(given, prepared, aside_s).attach(trainer)
        trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)


def _timed_data(
    args: RunArgs, tokenizer: Any, model: Any, seed: int
) -> tuple[TrainingData, dict[str, float], float]:
    """(data, seconds of its preparation, seconds of doing again what a run does once).

    Twice: from an empty cache, and from the one that this has filled. Blocks are included, which
    are made anew for the trainer.
    """
    start = time.perf_counter()
    data = load_data(args.data, tokenizer, model.config, seed)
    loaded = time.perf_counter()
    lay_out(args.data, data, collator_of(True, True, tokenizer), seed)
    again = time.perf_counter()
    data = load_data(args.data, tokenizer, model.config, seed)
    lay_out(args.data, data, collator_of(True, True, tokenizer), seed)
    ended = time.perf_counter()
    facts = {"preparation_s": again - start, "cached_preparation_s": ended - again}
    return data, facts, ended - loaded
