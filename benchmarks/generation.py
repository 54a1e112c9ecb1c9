"""Rows a second of `decode` beside a plain loop over transformers' `generate`, in one run.

    python -m benchmarks.generation --model models/smollm2-135m-instruct --data ../shared/data/gsm8k

On a GPU where there is one. Both answer the same test rows, in the model's chat template, greedily
and in float32. The loop takes the rows in the file's order, pads each batch on the left and waits
for its longest answer. `decode` runs at the loop's batch size and at its own. Contenders take turns
for `--rounds`; the outputs are compared token by token, end token included. Processor seconds say
more than the clock's on a CPU that others use too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from benchmarks import machine
from det_files.data.arguments import DataArguments, SourceArguments
from det_files.evaluation.questions import make_questions, read_test_rows
from det_files.generation.answers import end_ids, make_answer
from det_files.generation.decoding import decode, own_batches
from det_files.generation.padding import pad, pad_id_of
from det_files.generation.sampling import Sampling

NAIVE, EQUAL, OWN = "naive loop", "decode, same batch size", "decode, its own batch size"
# What is answered: the ids of each prompt's answer, in the prompts' order.
Answers = list[list[int]]


def naive_loop(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    max_new_tokens: int,
) -> Answers:
    """The loop that is written first: a fixed order, padded batches, each until its last row."""
    ends = end_ids(model, tokenizer)
    found: Answers = []
    for start in range(0, len(prompts), batch_size):
        batch = pad(prompts[start : start + batch_size], pad_id_of(tokenizer), left=True)
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        with torch.inference_mode():
            output = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
        answers = output[:, batch["input_ids"].shape[1] :].tolist()
        found += [make_answer(tokenizer, ends, ids, 0).token_ids for ids in answers]
    return found


def decoded(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    batch_size: int | None,
    max_new_tokens: int,
) -> Answers:
    """The same by `decode`."""
    sampling = Sampling(max_new_tokens)
    found: Answers = [[]] * len(prompts)
    for answer in decode(model, tokenizer, prompts, sampling, batch_size=batch_size):
        found[answer.number] = answer.token_ids
    return found


def read_prompts(
    data: Path, tokenizer: PreTrainedTokenizerBase, rows: int | None
) -> list[list[int]]:
    """The first test rows as token ids, in the chat template, as training has them."""
    arguments = DataArguments(sources=[SourceArguments(path=str(data))])
    questions = make_questions(read_test_rows(arguments, rows), arguments, tokenizer)
    return [question.prompt for question in questions]


def measure(
    ways: dict[str, Callable[[], Answers]], rounds: int
) -> tuple[dict[str, dict[str, float]], dict[str, Answers]]:
    """(rows a second by the clock and by processor time, medians of the rounds; the answers)."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    answers: dict[str, Answers] = {}
    for number in range(rounds):
        # Every other round backwards: what changes meanwhile then meets all alike.
        for name in list(ways)[:: -1 if number % 2 else 1]:
            start, cpu = time.perf_counter(), machine.cpu_seconds()
            answers[name] = ways[name]()
            taken[name].append((time.perf_counter() - start, machine.cpu_seconds() - cpu))
            seconds, cpu_seconds = taken[name][-1]
            print(f"{name}: {seconds:.1f} s, {cpu_seconds:.1f} of a processor", flush=True)
    rates = {}
    for name, times in taken.items():
        seconds, cpu_seconds = (statistics.median(t) for t in zip(*times, strict=True))
        count = len(answers[name])
        rates[name] = {
            "rows_per_second": count / seconds,
            "rows_per_cpu_second": count / cpu_seconds,
            "tokens_per_second": sum(map(len, answers[name])) / seconds,
        }
    return rates, answers


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Runs all contenders; returns rates, ratios to the naive loop, and how many rows agree."""
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    prompts = read_prompts(options.data, tokenizer, options.rows)
    work = (model, tokenizer, prompts)
    size, limit = options.batch_size, options.max_new_tokens
    own = max(min(n, len(places)) for places, n in own_batches(model, prompts, Sampling(limit)))
    for way in (naive_loop, decoded):
        way(model, tokenizer, prompts[:2], 2, 4)  # the first steps are slow
    rates, answers = measure(
        {
            NAIVE: lambda: naive_loop(*work, size, limit),
            EQUAL: lambda: decoded(*work, size, limit),
            OWN: lambda: decoded(*work, None, limit),
        },
        options.rounds,
    )
    lengths = [len(ids) for ids in answers[NAIVE]]
    return {
        "rates": rates,
        "ratios": {
            name: {unit: rates[name][unit] / rates[NAIVE][unit] for unit in rates[name]}
            for name in (EQUAL, OWN)
        },
        "rows": len(prompts),
        "same_answers": {
            name: sum(a == b for a, b in zip(answers[name], answers[NAIVE], strict=True))
            for name in (EQUAL, OWN)
        },
        "batch_sizes": {NAIVE: size, EQUAL: size, OWN: own},
        "answer_tokens": {"mean": statistics.mean(lengths), "cut_off": lengths.count(limit)},
        "threads": torch.get_num_threads(),
        "machine": machine.describe(),
    }


def render(found: dict[str, Any]) -> str:
    """The comparison as lines of text."""
    lines = [f"{found['rows']} rows, {found['answer_tokens']['mean']:.0f} tokens an answer"]
    for name, rate in found["rates"].items():
        line = f"{name} ({found['batch_sizes'][name]}): {rate['rows_per_second']:.3f} rows/s"
        if name in found["ratios"]:
            ratio = found["ratios"][name]
            line += (
                f", {ratio['rows_per_second']:.2f} x the loop"
                f" ({ratio['rows_per_cpu_second']:.2f} x by processor time), "
                f"{found['same_answers'][name]} answers the same"
            )
        lines.append(line)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="has test/*.jsonl")
    parser.add_argument("--rows", type=int, default=128, help="the first N test rows")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the result is written, too")
    options = parser.parse_args(arguments)
    found = compare(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(render(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
