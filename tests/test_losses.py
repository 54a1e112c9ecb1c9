"""The summed loss and its gradients against torch's own and against plain float64 arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from det_files.losses import (
    LogitScaling,
    chunk_rows,
    position_scores,
    row_statistics,
    summarize,
    summed_cross_entropy,
)

N, H, V = 13, 6, 11
SCALINGS = {
    "none": LogitScaling(),
    "scaled": LogitScaling(scale=0.3),
    "capped": LogitScaling(cap=1.5),
    "both": LogitScaling(scale=0.5, cap=0.8),
}
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(dtype: torch.dtype = torch.float32) -> Inputs:
    """(hidden [N, H], weight [V, H], bias [V], targets [N])."""
    generator = torch.Generator().manual_seed(5)
    hidden, weight, bias = (
        torch.randn(size, generator=generator).to(dtype) for size in ((N, H), (V, H), (V,))
    )
    return hidden, weight, bias, torch.randint(0, V, (N,), generator=generator)


def reference(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    scaling: LogitScaling,
) -> torch.Tensor:
    logits = functional.linear(hidden, weight, bias) * scaling.scale
    if scaling.cap is not None:
        logits = (logits / scaling.cap).tanh() * scaling.cap
    return functional.cross_entropy(logits, targets, reduction="none")


@pytest.mark.parametrize("chunk", [1, 4, 13, 100])
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_loss_and_gradients_are_those_of_all_logits_at_once(
    scaling: LogitScaling, chunk: int
) -> None:
    *tensors, targets = inputs()
    ours = [tensor.clone().requires_grad_() for tensor in tensors]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    # The factor stands for what the trainer divides by.
    loss = summed_cross_entropy(*ours, targets, scaling, chunk) * 0.125
    wanted = reference(*exact, targets, scaling).sum() * 0.125
    loss.backward()
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    for mine, theirs in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad.float(), rtol=1e-5, atol=1e-6)


def test_frozen_weights_get_no_gradient_and_the_rest_is_the_same() -> None:
    hidden, weight, _, targets = inputs()
    frozen, trained = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    summed_cross_entropy(frozen, weight, None, targets).backward()
    summed_cross_entropy(trained, weight.requires_grad_(), None, targets).backward()
    assert weight.grad is not None
    assert torch.equal(frozen.grad, trained.grad)


def test_bfloat16_weights_are_summed_in_float32() -> None:
    hidden, weight, bias, targets = inputs(torch.bfloat16)
    logits = functional.linear(hidden, weight, bias).float()
    wanted = functional.cross_entropy(logits, targets, reduction="sum")
    weight.requires_grad_()
    loss = summed_cross_entropy(hidden, weight, bias, targets, chunk=2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    loss.backward()
    whole = (logits.softmax(-1) - functional.one_hot(targets, V)).bfloat16().t().float()
    # Each of the seven chunks is one bfloat16 product; only their sum is float32.
    torch.testing.assert_close(weight.grad.float(), whole @ hidden.float(), rtol=2**-7, atol=2**-6)


def test_float16_gradients_stay_within_its_range() -> None:
    """A frequent target sums up to more than 65504 before it is divided by the step's tokens."""
    generator = torch.Generator().manual_seed(1)
    hidden = (torch.randn(4096, H, generator=generator) + 20).half().requires_grad_()
    weight = torch.zeros(V, H, dtype=torch.float16, requires_grad=True)
    targets = torch.zeros(4096, dtype=torch.long)
    (summed_cross_entropy(hidden, weight, None, targets) / 4096).backward()
    exact = weight.detach().double().requires_grad_()
    logits = functional.linear(hidden.detach().double(), exact)
    functional.cross_entropy(logits, targets).backward()
    torch.testing.assert_close(weight.grad.double(), exact.grad, rtol=2e-3, atol=1e-3)


def test_bfloat16_gradients_are_not_rounded_with_their_factor() -> None:
    hidden, weight, _, targets = inputs(torch.bfloat16)
    mine = hidden.clone().requires_grad_()
    # 1/771 is 0.2 % off in bfloat16: so would be the whole gradient.
    (summed_cross_entropy(mine, weight, None, targets) / 771).backward()
    exact = hidden.double().requires_grad_()
    logits = functional.linear(exact, weight.double())
    (functional.cross_entropy(logits, targets, reduction="sum") / 771).backward()
    ratio = (mine.grad.double() * exact.grad).sum() / exact.grad.square().sum()
    assert ratio.item() == pytest.approx(1, abs=1e-3)


def test_autocast_computes_in_its_dtype() -> None:
    hidden, weight, _, targets = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = summed_cross_entropy(hidden, weight, None, targets)
    rounded = summed_cross_entropy(hidden.bfloat16(), weight.bfloat16(), None, targets)
    assert found.item() == rounded.item()


def test_a_second_backward_is_refused() -> None:
    hidden, weight, _, targets = inputs()
    loss = summed_cross_entropy(hidden.requires_grad_(), weight, None, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        loss.backward()


def test_no_supervised_position_is_zero_and_gives_no_gradient() -> None:
    hidden, weight, _, targets = inputs()
    empty = hidden[:0].requires_grad_()
    loss = summed_cross_entropy(empty, weight.requires_grad_(), None, targets[:0])
    loss.backward()
    assert loss.item() == 0.0
    assert weight.grad.abs().max() == 0
    statistics = row_statistics(torch.zeros(2, 0), torch.zeros(0, dtype=torch.long), 2)
    assert summarize(statistics) == {"loss": 0.0, "perplexity": 1.0, "token_accuracy": 0.0}


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_scores_are_losses_and_right_guesses(scaling: LogitScaling) -> None:
    hidden, weight, bias, targets = inputs()
    found = position_scores(hidden, weight, bias, targets, scaling, chunk=4)
    torch.testing.assert_close(found[0], reference(hidden, weight, bias, targets, scaling))
    # Neither scaling nor capping changes which logit is the largest.
    right = functional.linear(hidden, weight, bias).argmax(-1) == targets
    assert torch.equal(found[1], right.float())


@pytest.mark.parametrize("framework", ["torch", "numpy"])
def test_summary_is_over_tokens_not_over_rows(framework: str) -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 6.0], [1.0, 0.0, 1.0, 1.0]])
    statistics = row_statistics(scores, torch.tensor([0, 2, 2, 2]), 3)
    assert statistics.tolist() == [[1, 1, 1], [0, 0, 0], [11, 3, 2]]
    found = summarize(statistics if framework == "torch" else statistics.numpy())
    assert found["loss"] == 3.0
    assert found["perplexity"] == pytest.approx(math.exp(3))
    assert found["token_accuracy"] == 0.75


def test_chunks_are_bounded_by_the_vocabulary() -> None:
    assert chunk_rows(49152, "cpu") == 160
    assert chunk_rows(128_256, "cpu") * 128_256 <= 2**23
    assert chunk_rows(2**24, "cpu") == 1
    assert chunk_rows(128_256, "cuda") == 1024


def test_perplexity_of_a_diverged_model_is_finite_and_nan_stays_nan() -> None:
    assert 1e300 < summarize(torch.tensor([[1e6, 1.0, 0.0]]))["perplexity"] < math.inf
    assert math.isnan(summarize(torch.tensor([[math.nan, 1.0, 0.0]]))["perplexity"])
