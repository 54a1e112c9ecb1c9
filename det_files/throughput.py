"""Throughput of training: tokens a second, model FLOPs utilisation, peak memory.

FLOPs are counted as in the appendix of PaLM (Chowdhery et al. 2022, arXiv:2204.02311): 2 a
parameter and token forward; backward as many again for activations, and for weight gradients only
where weights are trained (LoRA's frozen ones are not); attention 12·L·H·S a token for training.
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


@dataclass(frozen=True)
class ModelShape:
    """What FLOPs are counted from. Embedding look-ups cost none, so their table is left out."""

    parameters: int
    trainable: int
    layers: int
    hidden: int

    def flops_per_token(self, sequence: float) -> float:
        """Training FLOPs of one token in a sequence of `sequence` tokens on average."""
        return (
            4.0 * self.parameters
            + 2.0 * self.trainable
            + 12.0 * self.layers * self.hidden * sequence
        )


def model_shape(model: torch.nn.Module) -> ModelShape:
    """Counts a model's parameters; under ZeRO-3 the partitioned ones at their full size."""

    config = getattr(model, "config", None)
    find = getattr(model, "get_input_embeddings", None)
    embedding = find() if callable(find) else None
    tied = bool(getattr(config, "tie_word_embeddings", False))
    # A tied table is multiplied with once, as the output layer.
    table = [] if embedding is None or tied else list(embedding.parameters())
    looked_up = {id(parameter) for parameter in table}
    parameters = [p for p in model.parameters() if id(p) not in looked_up]
    return ModelShape(
        sum(parameter_size(p) for p in parameters),
        sum(parameter_size(p) for p in parameters if p.requires_grad),
        int(getattr(config, "num_hidden_layers", 0) or 0),
        int(getattr(config, "hidden_size", 0) or 0),
    )


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
        self._peak = peak_flops(device)
        self._pauses = 0
        self._unbooked = torch.zeros(1, dtype=torch.float64, device=device)
        self._reset()

    def _reset(self) -> None:
        # Counted on the device: reading a number out would make it wait for each micro-batch.
        self._counts = torch.zeros(3, dtype=torch.float64, device=self._device)
        self._since: float | None = None

    def count(self, attention_mask: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts a micro-batch of this rank, both [B, S]; the clock starts with the first one."""
        if self._since is None:
            self._since = time.perf_counter()
        supervised = (labels[:, 1:] != IGNORED).sum()
        rows = torch.tensor(len(labels), device=labels.device)
        counts = torch.stack([attention_mask.sum(), supervised, rows]).to(self._counts)
        self._counts += counts
        self._unbooked += counts[:1]

    def book_tokens(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> int:
        """Non-padding tokens of all ranks since the last call; all ranks call this in step."""
        tokens = int(gather(self._unbooked).sum())
        self._unbooked.zero_()
        return tokens

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

        `gather` concatenates the ranks' tensors of shape [1, 4] to [ranks, 4].
        """
        now = time.perf_counter()
        seconds = max(now - (now if self._since is None else self._since), 1e-9)
        memory = self._counts.new_tensor([peak_memory_bytes(self._device)])
        ranks = gather(torch.cat([self._counts, memory])[None])
        self._reset()
        self._since = now
        tokens, supervised, rows = (float(x) for x in ranks[:, :3].sum(dim=0))
        found = {
            "tokens_per_second": tokens / seconds,
            "supervised_tokens_per_second": supervised / seconds,
            "peak_memory_bytes": float(ranks[:, 3].max()),
        }
        if self._peak is not None and rows:
            per_token = self._shape.flops_per_token(tokens / rows)
            found["mfu"] = per_token * tokens / seconds / (self._peak * len(ranks))
        return found
