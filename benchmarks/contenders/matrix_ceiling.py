"""The matrix ceiling: tokens a second if nothing but the model's matrix products took time.

M tokens of a step, of which S supervised. Forward, a linear layer of [O, I] weights is a product
[M, I] x [I, O]; backward, [M, O] x [O, I] for its input and, where its weights are trained, also
[O, M] x [M, I] for them. The output layer counts S in place of M. Adapters, attention and all that
is element-wise count nothing, and results go to memory that is there already, so that the ceiling
is rather too high than too low.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import machine
from benchmarks.contenders.pacing import Assignment, peak_bytes

_REPEATS = 3


@dataclass(frozen=True)
class Linear:
    """`count` layers of [outputs, inputs] weights, each over `tokens` tokens."""

    outputs: int
    inputs: int
    tokens: int
    count: int

    def flops(self, products: int) -> int:
        """Of so many products of one step."""
        return 2 * self.tokens * self.inputs * self.outputs * self.count * products


def linear_layers(model: Any, tokens: int, supervised: int) -> list[Linear]:
    """The linear layers of a transformers model (on the meta device, say), equal ones together."""
    head = model.get_output_embeddings()
    counts: Counter[tuple[int, int, int]] = Counter()
    for module in model.modules():
        kind = type(module).__name__
        if kind not in ("Linear", "Conv1D"):
            continue
        shape = tuple(module.weight.shape)
        outputs, inputs = shape if kind == "Linear" else shape[::-1]
        counts[outputs, inputs, supervised if module is head else tokens] += 1
    return [Linear(*key, count) for key, count in counts.items()]


def product_seconds(layer: Linear, dtype: torch.dtype, device: str, weights: bool) -> float:
    """Seconds of a step in the products of such layers; with those for `weights` trained."""
    options: dict[str, Any] = {"dtype": dtype, "device": device}
    x = torch.randn(layer.tokens, layer.inputs, **options)
    w = torch.randn(layer.outputs, layer.inputs, **options)
    y, dx, dw = (torch.empty(size, **options) for size in _results(layer))
    dy = torch.randn(layer.tokens, layer.outputs, **options)
    products: list[Callable[[], Any]] = [
        lambda: torch.mm(x, w.t(), out=y),
        lambda: torch.mm(dy, w, out=dx),
    ]
    if weights:
        products.append(lambda: torch.mm(dy.t(), x, out=dw))
    return layer.count * sum(_seconds(product, device) for product in products)


def _results(layer: Linear) -> Iterator[tuple[int, int]]:
    yield layer.tokens, layer.outputs
    yield layer.tokens, layer.inputs
    yield layer.outputs, layer.inputs


def _seconds(product: Callable[[], Any], device: str) -> float:
    """Mean seconds of one call, after one that does not count."""
    product()
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_REPEATS):
        product()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / _REPEATS


def run(given: Assignment) -> None:
    """Reports each pass over all shapes as a step of `tokens_per_step` tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    work, reports = given.work, given.reports
    config = AutoConfig.from_pretrained(work.model)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tokens, supervised = work.tokens_per_step, work.supervised_per_step
    layers = linear_layers(model, tokens, supervised)
    full, dtype = work.method == "full", getattr(torch, work.dtype)
    flops = sum(layer.flops(3 if full else 2) for layer in layers)
    reports.send("ready", layers=[vars(layer) for layer in layers], flops=flops)
    while True:
        given.commands.next_step()
        start, cpu = time.perf_counter(), machine.cpu_seconds()
        seconds = sum(product_seconds(layer, dtype, work.device, full) for layer in layers)
        # A layer stands for `count` of them, so that a pass takes less time than it reports.
        share = seconds / (time.perf_counter() - start)
        reports.send(
            "step",
            seconds=seconds,
            cpu_seconds=(machine.cpu_seconds() - cpu) * share,
            tokens=tokens,
            supervised=supervised,
            gflops_per_second=flops / seconds / 1e9,
            loss=None,
            peak_bytes=peak_bytes(torch.device(work.device)),
            compile_seconds=0.0,
        )
