"""The loss, exact to the token: sums over supervised tokens, divided once by their number.

B batch, S sequence, V vocabulary. Labels are unshifted, -100 where nothing is learned.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from det_files.data.tokenization import IGNORED


def summed_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of -log p(label) over supervised tokens, in float32: [B, S, V], [B, S] → []."""
    targets = labels[:, 1:]
    chosen = targets != IGNORED
    # Only supervised positions are taken to float32: V is large and prompts are long.
    return functional.cross_entropy(
        logits[:, :-1][chosen].float(), targets[chosen], reduction="sum"
    )


def token_mean_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """The Trainer's `compute_loss_func`: summed loss over the global batch's supervised tokens.

    `num_items_in_batch` counts the supervised tokens of the whole optimizer step on all ranks;
    dividing by it makes the gradient that of one big batch, however it was spread. None: the
    batch's own count.
    """
    total = summed_cross_entropy(outputs["logits"], labels)
    if num_items_in_batch is None:
        num_items_in_batch = (labels[:, 1:] != IGNORED).sum()
    # A step without a supervised token has a loss of 0 and no gradient; 0 / 0 would end the model.
    return total / max(num_items_in_batch, 1)


def row_statistics(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """[B, 3] of float64: each row's summed loss, supervised tokens, and tokens guessed right."""
    rows = []
    for row_logits, row_labels in zip(logits, labels, strict=True):
        chosen = row_labels[1:] != IGNORED
        targets = row_labels[1:][chosen]
        scores = row_logits[:-1][chosen].float()
        loss = functional.cross_entropy(scores, targets, reduction="sum")
        right = (scores.argmax(dim=-1) == targets).sum()
        rows.append(torch.stack([loss.double(), chosen.sum().double(), right.double()]))
    return torch.stack(rows)


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
