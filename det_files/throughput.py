"""Throughput of training: tokens a second, model FLOPs utilisation, peak memory.

FLOPs are counted as in the appendix of PaLM (Chowdhery et al. 2022, arXiv:2204.02311): 2 a
parameter and token forward; backward as many again for activations, and for weight gradients only
where weights are trained (LoRA's frozen ones are not); attention 12·L·H·S a token for training.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from det_files.losses import IGNORED

# Dense bf16/fp16 peak of one device, FLOP/s, from the makers' datasheets. Nothing is logged for
# others: a utilisation against a guessed peak would be worse than none.
PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
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

    def size(parameter: torch.nn.Parameter) -> int:
        return int(getattr(parameter, "ds_numel", parameter.numel()))

    config = getattr(model, "config", None)
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    tied = bool(getattr(config, "tie_word_embeddings", False))
    # A tied table is multiplied with once, as the output layer.
    table = 0 if embedding is None or tied else sum(size(p) for p in embedding.parameters())
    parameters = list(model.parameters())
    return ModelShape(
        sum(size(p) for p in parameters) - table,
        sum(size(p) for p in parameters if p.requires_grad),
        int(getattr(config, "num_hidden_layers", 0) or 0),
        int(getattr(config, "hidden_size", 0) or 0),
    )


def peak_flops(device: torch.device) -> float | None:
    """The device's datasheet peak, FLOP/s; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


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
        self._reset()

    def _reset(self) -> None:
        self._tokens = self._supervised = self._rows = 0
        self._since: float | None = None

    def count(self, attention_mask: torch.Tensor, labels: torch.Tensor) -> None:
        """Counts a micro-batch of this rank, both [B, S]; the clock starts with the first one."""
        if self._since is None:
            self._since = time.perf_counter()
        self._tokens += int(attention_mask.sum())
        self._supervised += int((labels[:, 1:] != IGNORED).sum())
        self._rows += len(labels)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time spent inside out of the window."""
        began = time.perf_counter()
        try:
            yield
        finally:
            if self._since is not None:
                self._since += time.perf_counter() - began

    def row(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """Metrics of all ranks together since the last row; all ranks call this in step.

        `gather` concatenates the ranks' tensors of shape [1, 4] to [ranks, 4].
        """
        now = time.perf_counter()
        seconds = max(now - (now if self._since is None else self._since), 1e-9)
        counts = [self._tokens, self._supervised, self._rows, peak_memory_bytes(self._device)]
        self._reset()
        self._since = now
        mine = torch.tensor([counts], dtype=torch.float64, device=self._device)
        ranks = gather(mine)
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
