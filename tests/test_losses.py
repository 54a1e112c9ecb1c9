"""The summed loss against transformers' own and against plain float64 arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from det_files.losses import (
    IGNORED,
    row_statistics,
    summarize,
    summed_cross_entropy,
    token_mean_loss,
)

B, S, V = 4, 7, 11


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [B, S, V] and labels [B, S]: supervised from another position in each row."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(B, S, V, generator=generator, dtype=torch.float64) * 4
    labels = torch.randint(0, V, (B, S), generator=generator)
    for row in range(B):
        labels[row, : row + 1] = IGNORED
    labels[0, -2:] = IGNORED
    return logits, labels


def by_hand(logits: torch.Tensor, labels: torch.Tensor) -> list[tuple[float, int, int]]:
    """(summed loss, tokens, right ones) of each row, one position at a time, in float64."""
    rows = []
    for row_logits, row_labels in zip(logits.tolist(), labels.tolist(), strict=True):
        loss, tokens, right = 0.0, 0, 0
        for scores, target in zip(row_logits[:-1], row_labels[1:], strict=True):
            if target != IGNORED:
                loss += math.log(sum(map(math.exp, scores))) - scores[target]
                tokens += 1
                right += scores.index(max(scores)) == target
        rows.append((loss, tokens, right))
    return rows


def test_agrees_with_transformers_own_loss(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    ids = torch.randint(4, 300, (3, 20), generator=torch.Generator().manual_seed(2))
    labels = ids.clone()
    labels[:, :8] = IGNORED
    labels[1, 12:] = IGNORED
    outputs = model(input_ids=ids, labels=labels)
    ours = token_mean_loss(outputs, labels)
    assert ours.item() == pytest.approx(outputs.loss.item(), rel=1e-6)
    # With the step's count transformers divides by it as well.
    spread = model(input_ids=ids, labels=labels, num_items_in_batch=torch.tensor(77)).loss
    assert token_mean_loss(outputs, labels, torch.tensor(77)).item() == pytest.approx(
        spread.item(), rel=1e-6
    )


def test_sums_agree_with_plain_arithmetic(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    wanted = by_hand(logits, labels)
    total = sum(loss for loss, _, _ in wanted)
    assert summed_cross_entropy(logits, labels).item() == pytest.approx(total, rel=1e-6)
    assert row_statistics(logits, labels).tolist() == [
        pytest.approx(list(map(float, row)), rel=1e-6) for row in wanted
    ]


def test_bfloat16_logits_are_summed_in_float32(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch[0].bfloat16(), batch[1]
    total = sum(loss for loss, _, _ in by_hand(logits, labels))
    assert summed_cross_entropy(logits, labels).item() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_summary_is_over_tokens_not_over_rows(
    batch: tuple[torch.Tensor, torch.Tensor], framework: str
) -> None:
    statistics = row_statistics(*batch)
    found = summarize(statistics if framework == "torch" else statistics.numpy())
    loss, tokens, right = (sum(column) for column in zip(*by_hand(*batch), strict=True))
    assert found["loss"] == pytest.approx(loss / tokens, rel=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(loss / tokens), rel=1e-5)
    assert found["token_accuracy"] == right / tokens


def test_no_supervision_is_zero_and_gives_no_gradient() -> None:
    logits = torch.randn(2, 5, V, requires_grad=True)
    labels = torch.full((2, 5), IGNORED)
    for count in (None, torch.tensor(0), 0):
        loss = token_mean_loss({"logits": logits}, labels, count)
        assert loss.item() == 0.0
        assert torch.autograd.grad(loss, logits)[0].abs().max() == 0
    assert summarize(row_statistics(logits.detach(), labels)) == {
        "loss": 0.0,
        "perplexity": 1.0,
        "token_accuracy": 0.0,
    }


def test_the_first_label_is_never_a_target() -> None:
    logits = torch.randn(1, 3, V)
    labels = torch.tensor([[4, IGNORED, IGNORED]])
    assert summed_cross_entropy(logits, labels).item() == 0.0


def test_perplexity_of_a_diverged_model_is_finite_and_nan_stays_nan() -> None:
    assert 1e300 < summarize(torch.tensor([[1e6, 1.0, 0.0]]))["perplexity"] < math.inf
    assert math.isnan(summarize(torch.tensor([[math.nan, 1.0, 0.0]]))["perplexity"])
