"""Throughput of training: tokens a second, model FLOPs utilisation, peak memory.

FLOPs are those that training cannot do without, after the appendix of PaLM (Chowdhery et al. 2022,
arXiv:2204.02311): 2 a parameter and token forward; backward as many again for activations, and for
weight gradients only where weights are trained (LoRA's frozen ones are not). The output layer
counts where a token is supervised. Attention is 12·L·A·S a token of a row of S tokens, forward and
backward, of which causality leaves half; padding, recomputation and compilation count nothing.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from det_files.data.tokenization import IGNORED
from det_files.parameters import parameter_size

# Dense bf16/fp16 peak of one device, FLOP/s, from the makers' datasheets, by words of its name.
# Nothing is logged for others: a utilisation against a guessed peak would be worse than none.
PEAK_FLOPS = {
    "H200": 989e12,
    "GH200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "A10G": 70e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
}

_UNCOUNTED = ("num_experts", "num_local_experts", "is_encoder_decoder")


@dataclass(frozen=True)
class ModelShape:
    """What FLOPs are counted from. Embedding look-ups cost none, so their table is left out.

    `attention` is A, the heads' sizes together; `head` and `head_trainable` are the output layer's
    parameters, the other two everything else's. `uncounted` says that not every token passes all of
    them (experts, or an encoder and a decoder), so that FLOPs cannot be told from these.
    """

    parameters: int
    trainable: int
    head: int
    head_trainable: int
    layers: int
    attention: int
    uncounted: bool = False

    def flops(self, tokens: float, supervised: float, squares: float) -> float:
        """Training FLOPs of rows with so many tokens, supervised ones, and sum of S squared."""
        return (
            tokens * (4.0 * self.parameters + 2.0 * self.trainable)
            + supervised * (4.0 * self.head + 2.0 * self.head_trainable)
            + squares * 6.0 * self.layers * self.attention
        )


def model_shape(model: torch.nn.Module) -> ModelShape:
    """Counts a model's parameters; under ZeRO-3 the partitioned ones at their full size."""
    config = getattr(model, "config", None)
    heads = int(getattr(config, "num_attention_heads", 0) or 0)
    hidden = int(getattr(config, "hidden_size", 0) or 0)
    head_size = getattr(config, "head_dim", None) or (hidden // heads if heads else 0)
    output = _parameters_of(model, "get_output_embeddings")
    # A tied table is multiplied with once, as the output layer.
    elsewhere = _parameters_of(model, "get_input_embeddings") | output
    body = [p for p in model.parameters() if id(p) not in elsewhere]
    return ModelShape(
        sum(map(parameter_size, body)),
        sum(parameter_size(p) for p in body if p.requires_grad),
        sum(map(parameter_size, output.values())),
        sum(parameter_size(p) for p in output.values() if p.requires_grad),
        int(getattr(config, "num_hidden_layers", 0) or 0),
        heads * int(head_size),
        any(getattr(config, key, None) for key in _UNCOUNTED),
    )


def _parameters_of(model: torch.nn.Module, getter: str) -> dict[int, torch.nn.Parameter]:
    """The parameters of the part that a method of transformers' models names, by identity."""
    find = getattr(model, getter, None)
    part = find() if callable(find) else None
    return {} if part is None else {id(p): p for p in part.parameters()}


def peak_flops(device: torch.device) -> float | None:
    """The device's datasheet peak, FLOP/s; None where it is not known."""
    if device.type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """The peak of a device of this name; None for unknown ones and for MIG's slices of one."""
    words = set(re.split(r"[\s-]+", name))
    if "MIG" in words:
        return None
    return next((peak for part, peak in PEAK_FLOPS.items() if words.issuperset(part.split())), None)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak of allocated device memory; on the CPU, of this process's resident set."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kibibytes


class ThroughputMeter:
    """Counts what is trained on between two logged rows, and the time that training took.

    Evaluation, saving and uploading stand inside `paused()` and are not counted.
    """

    def __init__(self, device: torch.device, shape: ModelShape) -> None:
        self._device = device
        self._shape = shape
        self._peak = None if shape.uncounted else peak_flops(device)
        self._pauses = 0
        self._tokens = torch.zeros(1, dtype=torch.float64, device=device)
        self._booked = self._tokens.clone()
        self._trained_s = 0.0  # up to the last row
        self._reset()

    def _reset(self) -> None:
        # Counted on the device: reading a number out would make it wait for each micro-batch.
        self._counts = torch.zeros(4, dtype=torch.float64, device=self._device)
        self._since: float | None = None

    def count(self, lengths: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts a micro-batch of this rank: tokens of its rows [n], its labels [B, S].

        The clock starts with the first one.
        """
        if self._since is None:
            self._since = time.perf_counter()
        supervised = (labels[:, 1:] != IGNORED).sum()
        rows = torch.tensor(len(lengths), device=labels.device)
        lengths = lengths.to(torch.float64)
        counts = [lengths.sum(), supervised.double(), lengths.square().sum(), rows.double()]
        self._counts += torch.stack(counts).to(self._counts)
        self._tokens += lengths.sum().to(self._tokens)

    def book_tokens(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> int:
        """Non-padding tokens of all ranks since the last call; all ranks call this in step."""
        tokens = int(gather(self._tokens - self._booked).sum())
        self._booked = self._tokens.clone()
        return tokens

    def mark(self) -> tuple[float, torch.Tensor]:
        """Seconds that training has taken so far, and this rank's non-padding tokens [1] in them.

        Nothing waits for the device.
        """
        since = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._trained_s + since, self._tokens.clone()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time spent inside out of the window; pauses may be nested."""
        began = time.perf_counter()
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            if self._since is not None and self._pauses == 0:
                self._since += time.perf_counter() - began

    def row(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """Metrics of all ranks together since the last row; all ranks call this in step.

        `gather` concatenates the ranks' tensors of shape [1, 5] to [ranks, 5].
        """
        now = time.perf_counter()
        seconds = max(now - (now if self._since is None else self._since), 1e-9)
        memory = self._counts.new_tensor([peak_memory_bytes(self._device)])
        ranks = gather(torch.cat([self._counts, memory])[None])
        self._trained_s += seconds
        self._reset()
        self._since = now
        tokens, supervised, squares, rows = (float(x) for x in ranks[:, :4].sum(dim=0))
        found = {
            "tokens_per_second": tokens / seconds,
            "supervised_tokens_per_second": supervised / seconds,
            "peak_memory_bytes": float(ranks[:, 4].max()),
        }
        if self._peak is not None and rows:
            flops = self._shape.flops(tokens, supervised, squares)
            found["mfu"] = flops / seconds / (self._peak * len(ranks))
        return found
