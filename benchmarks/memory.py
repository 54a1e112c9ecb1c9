"""The memory estimate beside what runs really take, in fresh processes of the project's entrypoint.

    python -m benchmarks.memory --model models/smollm2-135m-instruct

On a CPU every block that torch's allocator takes and gives back is counted (allocations.c, loaded
before the C library; torch's profiler misses what gloo's threads free), of rank 0: tensors, not
resident pages. On GPUs it is torch.cuda's own counts. Two figures a run: model states, when a step
has ended and the next has not begun; and the peak from the first step to the last. All rows have
the same length, so that the longest is also the usual one; weights are random, so that none are
mapped from a file.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine

MEBIBYTE = 1024 * 1024
STEPS = 3
# A tiny Llama, large enough that a counter of steps is nothing beside it.
TINY = {
    "vocab_size": 384,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}


@dataclass(frozen=True)
class Case:
    """One run: `stage` is None without DeepSpeed; `training` goes over the defaults below."""

    model: str
    method: str
    stage: int | None
    ranks: int
    dtype: str = "float32"
    rows: int = 2
    training: Mapping[str, Any] = field(default_factory=dict)
    zero: Mapping[str, Any] = field(default_factory=dict)
    what: str = ""

    @property
    def name(self) -> str:
        stage = "no DeepSpeed" if self.stage is None else f"stage {self.stage}"
        ranks = "1 rank" if self.ranks == 1 else f"{self.ranks} ranks"
        return f"{self.model} {self.method} {self.dtype}, {stage}, {ranks}{self.what}"


CHECKPOINTING = {"activation_checkpointing": True}
ACCUMULATION = {"gradient_accumulation_steps": 2}
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}


def cases_of(model: str) -> list[Case]:
    """Every stage × method on 1 and 2 ranks, and one of each way out of memory."""
    found = [
        Case(model, method, stage, ranks)
        for method in ("full", "lora")
        for stage in (None, 1, 2, 3)
        for ranks in (1, 2)
    ]
    return [
        *found,
        Case(model, "full", 2, 2, "bfloat16"),
        Case(model, "lora", 3, 2, "bfloat16"),
        Case(model, "full", None, 1, "bfloat16"),
        Case(model, "full", 2, 2, training=CHECKPOINTING, what=", checkpointing"),
        Case(model, "full", 3, 2, training=CHECKPOINTING, what=", checkpointing"),
        Case(model, "lora", None, 1, training=CHECKPOINTING, what=", checkpointing"),
        Case(model, "full", 2, 2, training=ACCUMULATION, what=", 2 micro-batches"),
        Case(model, "full", 2, 2, zero=OFFLOAD, what=", optimizer offloaded"),
        Case(model, "full", None, 1, training={"optim": "adamw_torch_8bit"}, what=", 8-bit Adam"),
    ]


def hyperparameters(case: Case, model: Path, data: Path) -> dict[str, Any]:
    """The case as an experiment's hyperparameters; buckets are small, as the models are."""
    bucket = 10**7 if case.model != "tiny" else 3 * 10**5
    config: dict[str, Any] = {
        "model_arguments": {"config_name_or_path": str(model), "dtype": case.dtype},
        "data_arguments": {
            "sources": [{"path": str(data)}],
            "chat_template": "none",
            "max_input_tokens": 96,
            "max_output_tokens": 32,
        },
        "tuning_arguments": {"method": case.method},
        "training_arguments": {
            "max_steps": STEPS,
            "per_device_train_batch_size": case.rows,
            "eval_strategy": "no",
            "save_strategy": "no",
            **case.training,
        },
    }
    if case.stage is not None:
        config["deepspeed_config"] = f"ds_configs/ds_config_stage_{case.stage}.json"
        section: dict[str, Any] = dict(case.zero)
        if case.stage < 3:
            section |= {"reduce_bucket_size": bucket, "allgather_bucket_size": bucket}
        config["overwrite_deepspeed_args"] = {"zero_optimization": section}
    return config


def make_data(directory: Path) -> None:
    """Rows that are longer than both limits, so that all are cut to them."""
    rng = random.Random(1)
    words = [f"{number} trees" for number in range(50)]
    for split in ("train", "val"):
        (directory / split).mkdir(parents=True)
        rows = [
            {"input": " ".join(rng.choices(words, k=200)), "output": " ".join(words)}
            for _ in range(64)
        ]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (directory / split / "rows.jsonl").write_text(text, encoding="utf-8")


def make_tiny(directory: Path, tokenizer: Path) -> None:
    """A configuration of the tiny model beside another model's tokenizer."""
    import transformers

    found = transformers.AutoTokenizer.from_pretrained(tokenizer)
    found.save_pretrained(directory)
    config = transformers.AutoConfig.for_model("llama", **(TINY | {"vocab_size": len(found)}))
    config.save_pretrained(directory)


def estimated(case: Case, config: Mapping[str, Any]) -> dict[str, int]:
    """{"states", "peak"} in bytes, by det_files.memory."""
    from det_files.args import RunFacts
    from det_files.memory.estimate import estimate_run, read_shape
    from det_files.resolution import resolve_or_raise

    args = resolve_or_raise(config, [], RunFacts(slots=case.ranks), machine.ROOT)
    shape = read_shape(args, None if machine.describe()["gpu"] else "cpu")
    found = estimate_run(shape, args)
    offload = found.host["offload"] if found.on_cpu else 0
    without_margin = found.device_bytes - found.device["margin"]
    return {
        "states": found.resting_bytes + offload,
        "peak": without_margin + offload,
        "moment": found.peak,
        "parts": dict(found.device),
        "resting": dict(found.resting),
    }


def measured(case: Case, config: Mapping[str, Any], directory: Path) -> dict[str, int]:
    """The same of rank 0 of a real run.

    Raises:
        RuntimeError: the run failed; with the end of what it said.
    """
    result = directory / "measured.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(case.ranks), "-m", "benchmarks.memory"]
    command += ["--rank", str(result), "--trial_dir", str(directory / "trial")]
    for section, value in config.items():
        command += ["--set", f"hyperparameters.{section}={json.dumps(value)}"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PATH": path, "LD_PRELOAD": str(directory / "allocations.so")},
        cwd=machine.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode or not result.is_file():
        raise RuntimeError(f"{case.name} failed:\n{done.stdout[-2000:]}")
    return dict(json.loads(result.read_text(encoding="utf-8")))


def run_as_rank(result: Path, words: Sequence[str]) -> None:
    """What one rank does: the entrypoint, with a look at the counts at the end of every step."""
    from unittest import mock

    import torch
    from transformers import TrainerCallback

    from det_files import run_clm, training

    if torch.cuda.is_available():
        held, most = torch.cuda.memory_allocated, torch.cuda.max_memory_allocated
        reset: Callable[[], Any] = torch.cuda.reset_peak_memory_stats
    else:
        library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        held, most, reset = library.allocated_bytes, library.peak_bytes, library.reset_peak
        held.restype = most.restype = ctypes.c_longlong
    counts: dict[str, int] = {}

    class Counts(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            reset()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            counts.update(states=held(), peak=most())

    callbacks = training.trial_callbacks
    sys.argv = ["det_files.run_clm", *words]
    with mock.patch.object(training, "trial_callbacks", lambda *a: [*callbacks(*a), Counts()]):
        run_clm.main()
    if os.environ.get("RANK", "0") == "0":
        result.write_text(json.dumps(counts), encoding="utf-8")


def build_counter(directory: Path) -> Path:
    """allocations.c as a library."""
    library = directory / "allocations.so"
    source = str(Path(__file__).with_name("allocations.c"))
    command = ["cc", "-O2", "-shared", "-fPIC", source, "-o", str(library), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def compare(case: Case, model: Path, data: Path, directory: Path) -> dict[str, Any]:
    """One case, measured and estimated, with the relative errors."""
    config = hyperparameters(case, model, data)
    real, found = measured(case, config, directory), estimated(case, config)
    errors = {name: found[name] / real[name] - 1 for name in ("states", "peak")}
    return {"case": case.name, "measured": real, "estimated": found, "errors": errors}


def show(row: Mapping[str, Any]) -> str:
    """A line of a Markdown table."""
    cells = [row["case"]]
    for name in ("states", "peak"):
        real, found = row["measured"][name], row["estimated"][name]
        cells += [f"{real / MEBIBYTE:.1f}", f"{found / MEBIBYTE:.1f}"]
        cells += [f"{100 * row['errors'][name]:+.1f} %"]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--model", type=Path, help="a directory with config.json and a tokenizer")
    parser.add_argument("--only", default="", help="cases whose names hold these words")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    options, words = parser.parse_known_args(argv)
    if options.rank:
        run_as_rank(options.rank, words)
        return 0
    rows = []
    print("| | states: measured MiB | estimated | error | peak: measured | estimated | error |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        build_counter(directory)
        make_data(directory / "data")
        make_tiny(directory / "tiny", options.model)
        for name, model in (("tiny", directory / "tiny"), ("135M", options.model.resolve())):
            for case in cases_of(name):
                if all(word in case.name for word in options.only.split()):
                    rows.append(compare(case, model, directory / "data", directory))
                    print(show(rows[-1]), flush=True)
    if options.json:
        facts = {"machine": machine.describe(), "rows": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
