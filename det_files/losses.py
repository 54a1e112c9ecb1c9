"""The loss, exact to the token, from hidden states: the logits of all positions never exist.

N supervised positions, H hidden size, V vocabulary, C positions of a chunk. The output layer and
the cross-entropy are computed C positions at a time, so that [C, V] is the largest tensor; the
gradients are made in the same pass (as Liger's fused linear cross-entropy does, Hsu et al. 2024,
arXiv:2410.10989), so that nothing is computed twice. Sums are float32 whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

# Elements of a chunk's logits. A CPU's chunk should stay within its caches, a GPU's should fill it.
_CHUNK_ELEMENTS = {"cpu": 2**23, "cuda": 2**27}


@dataclass(frozen=True)
class LogitScaling:
    """What an architecture does to its logits: `cap * tanh(scale * logits / cap)`.

    Gemma 2 and later cap, Cohere and Granite scale; most do neither.
    """

    scale: float = 1.0
    cap: float | None = None

    def apply_(self, logits: torch.Tensor) -> torch.Tensor:
        """Scales float32 logits in place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)

    def backward_(self, gradient: torch.Tensor, scaled: torch.Tensor) -> torch.Tensor:
        """Turns the gradient by scaled logits into that by raw ones; both are overwritten."""
        if self.cap is not None:
            gradient.mul_(scaled.div_(self.cap).square_().neg_().add_(1.0))
        return gradient if self.scale == 1.0 else gradient.mul_(self.scale)


def summed_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    scaling: LogitScaling | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """Sum of -log p(target): [N, H], [V, H], [V] or None, [N] → [] of float32.

    Differentiable once, by hidden states, weight and bias. `chunk` is C; by default it is chosen
    for the device.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        weight = weight.to(torch.get_autocast_dtype(device))
    bias = None if bias is None else bias.to(weight.dtype)
    rows = chunk or chunk_rows(weight.shape[0], device)
    loss: torch.Tensor = _SummedCrossEntropy.apply(
        hidden.to(weight.dtype), weight, bias, targets, scaling or LogitScaling(), rows
    )
    return loss


def chunk_rows(vocabulary: int, device: str) -> int:
    """C: positions whose logits are held at once, a multiple of 32 where that many fit."""
    rows = _CHUNK_ELEMENTS.get(device, _CHUNK_ELEMENTS["cuda"]) // vocabulary
    return max(1, rows // 32 * 32 or rows)


class _SummedCrossEntropy(torch.autograd.Function):
    """Gradients are computed in the forward pass, for a sum: every position weighs the same."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        scaling: LogitScaling,
        rows: int,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        by_hidden, by_weight, by_bias = (
            torch.zeros(like.shape, dtype=dtype, device=like.device) if needed else None
            for like, needed, dtype in (
                (hidden, ctx.needs_input_grad[0], _at_least_bfloat16(hidden.dtype)),
                # Chunks are added up in float32: a bfloat16 sum would lose the later ones.
                (weight, ctx.needs_input_grad[1], torch.float32),
                (weight[:, 0], ctx.needs_input_grad[2], torch.float32),
            )
        )
        with torch.autocast(hidden.device.type, enabled=False):
            for part, logits in _chunks(hidden, weight, bias, scaling, rows):
                chosen = targets[part].unsqueeze(-1)
                normaliser = logits.logsumexp(-1, keepdim=True)
                total += (normaliser - logits.gather(-1, chosen)).sum()
                # d loss / d logits = softmax - one-hot.
                capped = logits.clone() if scaling.cap is not None else logits
                gradient = logits.sub_(normaliser).exp_()
                gradient.scatter_add_(-1, chosen, gradient.new_full((1, 1), -1.0).expand_as(chosen))
                gradient = scaling.backward_(gradient, capped)
                if by_bias is not None:
                    by_bias += gradient.sum(0)
                # Before it is divided by the step's tokens and multiplied by a loss scale, this
                # gradient has values that float16 has no exponents for.
                kind = _at_least_bfloat16(hidden.dtype)
                gradient = gradient.to(kind)
                if by_hidden is not None:
                    by_hidden[part] = gradient @ weight.to(kind)
                if by_weight is not None and kind == torch.float32:
                    by_weight.addmm_(gradient.t(), hidden[part].float())
                elif by_weight is not None:
                    by_weight += gradient.t() @ hidden[part]
        ctx.gradients = (by_hidden, by_weight, by_bias)
        ctx.kinds = (hidden.dtype, weight.dtype, weight.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *by_total: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the loss can be differentiated once: its gradients are freed")
        # Rounded once, behind the factor: rounding the factor would change the whole gradient.
        scaled = (
            None if gradient is None else (gradient.float() * by_total[0]).to(kind)
            for gradient, kind in zip(gradients, ctx.kinds, strict=True)
        )
        return (*scaled, None, None, None)


def _at_least_bfloat16(dtype: torch.dtype) -> torch.dtype:
    """float32 in place of float16, whose range is too small for what is not scaled yet."""
    return torch.float32 if dtype == torch.float16 else dtype


def _chunks(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scaling: LogitScaling,
    rows: int,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """(positions, their logits in float32, [C, V], to be overwritten), chunk by chunk."""
    for first in range(0, len(hidden), rows):
        part = slice(first, first + rows)
        logits = functional.linear(hidden[part], weight, bias).float()
        yield part, scaling.apply_(logits)


@torch.no_grad()
def position_scores(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    scaling: LogitScaling | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """[2, N] of float32 without gradients: -log p(target), and 1 where it is the likeliest."""
    scores = torch.empty(2, len(hidden), dtype=torch.float32, device=hidden.device)
    rows = chunk or chunk_rows(weight.shape[0], hidden.device.type)
    weight_like = hidden.to(weight.dtype)
    for part, logits in _chunks(weight_like, weight, bias, scaling or LogitScaling(), rows):
        chosen = targets[part]
        scores[0, part] = functional.cross_entropy(logits, chosen, reduction="none")
        scores[1, part] = (logits.argmax(-1) == chosen).float()
    return scores


def row_statistics(scores: torch.Tensor, row_of: torch.Tensor, rows: int) -> torch.Tensor:
    """[rows, 3] of float64: each row's summed loss, supervised tokens, and tokens guessed right.

    Args:
        scores: [2, N], of `position_scores`.
        row_of: [N], the row that a position belongs to.
        rows: how many there are.
    """
    columns = torch.stack([scores[0], torch.ones_like(scores[0]), scores[1]], dim=-1).double()
    statistics = columns.new_zeros(rows, 3)
    return statistics.index_add_(0, row_of, columns)


def summarize(statistics: Any) -> dict[str, float]:
    """loss, perplexity and token_accuracy of rows of statistics, [N, 3] (numpy or torch)."""
    loss, tokens, right = (float(column) for column in statistics.sum(axis=0))
    if tokens == 0:
        return {"loss": 0.0, "perplexity": 1.0, "token_accuracy": 0.0}
    mean = loss / tokens
    return {
        "loss": mean,
        # exp overflows a float at 709; a perplexity beyond it says no more than "very large".
        "perplexity": float(torch.tensor(min(mean, 700.0), dtype=torch.float64).exp()),
        "token_accuracy": right / tokens,
    }
