"""Data preparation: tokenising and packing beside TRL's, packing alone, and a start from the cache.

    python -m benchmarks.data --model models/smollm2-135m-instruct --data ../shared/data/gsm8k

The whole train split, from files on disk to a dataset of blocks. Ours and TRL's alternate, each in
a process of its own with nothing cached, and medians are shown; both learn answers only. What is
imported and the tokenizer's loading count for neither.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine

_RESULT = "result: "
_CAPACITIES = (1024, 2048, 4096)


def ours(options: argparse.Namespace, place: Path) -> dict[str, float]:
    """Seconds of ours, blocks included; the cache lies in `place`."""
    from transformers import AutoConfig, AutoTokenizer

    from det_files.data.arguments import DataArguments, SourceArguments
    from det_files.data.dataset import load_data
    from det_files.data.layout import collator_of, lay_out

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    config = AutoConfig.from_pretrained(options.model)
    arguments = DataArguments(
        sources=[SourceArguments(path=str(options.data))],
        packing="blocks",
        block_size=options.block_size,
        max_eval_samples=1,  # TRL prepares no val split either
        cache_dir=str(place),
    )
    start, cpu = time.perf_counter(), machine.cpu_seconds()
    data = load_data(arguments, tokenizer, config)
    layout = lay_out(arguments, data, collator_of(True, True, tokenizer), seed=42)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": machine.cpu_seconds() - cpu,
        "rows": len(data.train),
        "tokens": int(data.train.lengths.sum()),
        "blocks": len(layout.train),  # type: ignore[arg-type]
    }


def of_trl(options: argparse.Namespace, place: Path) -> dict[str, float]:
    """Seconds of TRL: rows to prompts and completions, and what SFTTrainer does with them.

    The trainer is given a tiny model, whose making does not count.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
    from trl import SFTConfig

    from benchmarks.contenders.trl_sft import layout_arguments, read_dataset, timed_trainer

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), **shape, **heads)
    arguments = SFTConfig(
        output_dir=str(place),
        bf16=False,
        use_cpu=True,
        report_to="none",
        dataset_num_proc=options.processes,
        **layout_arguments("packed", options.block_size),
    )
    start, cpu = time.perf_counter(), machine.cpu_seconds()
    dataset = read_dataset(options.data, None, bool(tokenizer.chat_template))
    reading_s, reading_cpu_s = time.perf_counter() - start, machine.cpu_seconds() - cpu
    trainer = timed_trainer()(
        model=AutoModelForCausalLM.from_config(config),
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
    )
    prepared = trainer.train_dataset
    return {
        "seconds": reading_s + trainer.preparation_s,
        "cpu_seconds": reading_cpu_s + trainer.preparation_cpu_s,
        "rows": len(dataset),
        "tokens": sum(map(len, prepared["input_ids"])),
        "blocks": len(prepared),
    }


def packing_alone(options: argparse.Namespace, place: Path) -> dict[str, float]:
    """Rows a second and fill of `pack`, by capacity of a block in tokens."""
    from transformers import AutoTokenizer

    from det_files.data.arguments import DataArguments, SourceArguments
    from det_files.data.dataset import load_data
    from det_files.data.packing import pack

    arguments = DataArguments(
        sources=[SourceArguments(path=str(options.data))],
        max_eval_samples=1,
        cache_dir=str(place),
    )
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    lengths = load_data(arguments, tokenizer).train.lengths.tolist()
    found: dict[str, float] = {}
    for capacity in _CAPACITIES:
        if max(lengths) > capacity:
            continue
        start = time.perf_counter()
        blocks = pack(lengths, capacity)
        seconds = time.perf_counter() - start
        found[f"rows_per_second_{capacity}"] = len(lengths) / seconds
        found[f"fill_{capacity}"] = sum(lengths) / (len(blocks) * capacity)
    return found


PARTS: dict[str, Callable[[argparse.Namespace, Path], dict[str, float]]] = {
    "ours": ours,
    "trl": of_trl,
    "packing": packing_alone,
}


def measure(
    options: argparse.Namespace, part: str, processes: int | None = None, again: bool = False
) -> dict[str, float]:
    """One part in a process of its own, with caches that are empty.

    `again`: a second process then finds them full, and takes `cached_seconds`.
    """
    command = [sys.executable, "-m", "benchmarks.data", "--part", part]
    command += ["--model", options.model, "--data", str(options.data)]
    command += ["--block-size", str(options.block_size)]
    command += ["--processes", str(processes)] if processes else []
    with tempfile.TemporaryDirectory(prefix="data-") as directory:
        command += ["--place", f"{directory}/place"]
        found = _run(part, command, directory)
        if again:
            found["cached_seconds"] = _run(part, command, directory)["seconds"]
    return found


def _run(part: str, command: Sequence[str], directory: str) -> dict[str, float]:
    # The Makefile forbids threads of tokenizers for the ranks of a trial; here they are free.
    own = {"HF_DATASETS_CACHE": f"{directory}/datasets", "TOKENIZERS_PARALLELISM": "true"}
    environment = os.environ | own
    found = subprocess.run(
        command, cwd=machine.ROOT, env=environment, capture_output=True, text=True
    )
    lines = [line for line in found.stdout.splitlines() if line.startswith(_RESULT)]
    if found.returncode or not lines:
        raise RuntimeError(f"{part} failed:\n{found.stderr[-2000:]}")
    return dict(json.loads(lines[-1].removeprefix(_RESULT)))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All parts, `repeats` times by turns; medians, and ratios of them."""
    from benchmarks.contenders.trl_sft import missing

    parts: dict[str, tuple[str, int | None]] = {"ours": ("ours", None)}
    if words := missing():
        print(words, file=sys.stderr)
    else:
        cores = len(os.sched_getaffinity(0))
        parts |= {"trl": ("trl", None), "trl_all_cores": ("trl", cores)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in parts}
    for _ in range(options.repeats):
        for name, (part, processes) in parts.items():
            runs[name].append(measure(options, part, processes, again=part == "ours"))
    medians = {name: _medians(found) for name, found in runs.items()}
    ours_s = medians["ours"]["seconds"]
    ratios = {
        name: medians[name]["seconds"] / ours_s if name in medians else None
        for name in ("trl", "trl_all_cores")
    }
    packing = measure(options, "packing")
    return {"medians": medians, "runs": runs, "packing": packing, "ratios": ratios}


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def report(found: dict[str, Any]) -> str:
    """Text of the results."""
    lines = ["who            seconds   of CPU  cached  rows/s    tokens     blocks"]
    for name, of in found["medians"].items():
        cached = f"{of['cached_seconds']:.2f}" if "cached_seconds" in of else ""
        rate = of["rows"] / of["seconds"]
        lines.append(
            f"{name:<14}{of['seconds']:>8.2f}{of['cpu_seconds']:>9.2f}{cached:>8}{rate:>8.0f}"
            f"{of['tokens']:>10.0f}{of['blocks']:>11.0f}"
        )
    for capacity in _CAPACITIES:
        if f"fill_{capacity}" in found["packing"]:
            rate, fill = (found["packing"][f"{k}_{capacity}"] for k in ("rows_per_second", "fill"))
            lines.append(f"packing alone, blocks of {capacity}: {rate:.0f} rows/s, {fill:.2%} full")
    for name, ratio in found["ratios"].items():
        shown = "not measured" if ratio is None else f"{ratio:.2f}"
        lines.append(f"{name}'s seconds / ours: {shown}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--model", required=True, help="whose tokenizer and chat template")
    parser.add_argument("--data", required=True, type=Path, help="a directory with train/*.jsonl")
    parser.add_argument("--block-size", type=int, default=1024, help="tokens of a block")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many is shown")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.data = options.data.resolve()
    if Path(options.model).is_dir():
        options.model = str(Path(options.model).resolve())
    if options.part:
        print(_RESULT + json.dumps(PARTS[options.part](options, options.place)))
        return 0
    described = machine.describe()
    found = compare(options)
    print(report(found))
    if options.json:
        everything = {"machine": described, **found}
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
