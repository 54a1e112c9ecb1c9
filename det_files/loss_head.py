"""The loss head: a causal language model that answers labels with a loss and never holds logits.

B batch, S sequence, H hidden size, V vocabulary, N supervised positions. transformers' own forward
multiplies every position with the output layer and keeps [B, S, V]. Here the hidden states of
supervised positions alone, [N, H], go to the output layer, which returns their summed loss.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.utils import ModelOutput

from det_files.architectures import architecture_of
from det_files.data.tokenization import IGNORED
from det_files.losses import LogitScaling, position_scores, summed_cross_entropy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


@dataclass
class TokenLosses(ModelOutput):
    """What the model returns for labels.

    - loss: [] of float32, summed over supervised positions; while gradients are on.
    - scores: [2, N], losses and right guesses of supervised positions in order; while they are off.
    """

    loss: torch.Tensor | None = None
    scores: torch.Tensor | None = None


def supervised(labels: torch.Tensor) -> torch.Tensor:
    """[B, S] of bool: positions whose next token is learned. The last of a row never is."""
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    chosen[:, :-1] = labels[:, 1:] != IGNORED
    return chosen


def language_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model itself, without the wrapper that peft may have put around it."""
    from transformers import PreTrainedModel  # slow, and it warns of kernels that nobody asked for

    unwrap = getattr(model, "get_base_model", None)
    found = unwrap() if callable(unwrap) else model
    if not isinstance(found, PreTrainedModel):
        raise TypeError(f"expected a transformers model, got {type(found).__name__}")
    return found


def install_loss_head(model: nn.Module) -> None:
    """Makes `model(labels=…)` return TokenLosses; without labels it is the model that it was.

    Only the instance is changed, in place: names of parameters and what is saved stay the same, and
    peft's, accelerate's and DeepSpeed's wrappers call it as before.
    """
    causal = language_model(model)
    if isinstance(causal.forward, _ModelForward):
        return
    head = causal.get_output_embeddings()
    known = architecture_of(causal.config)
    original = causal.forward
    if known is not None and head is not None:
        # As a call of the head, so that hooks around it gather its weights under ZeRO-3.
        head.forward = _HeadForward(head, known.scaling(causal.config))
    elif causal.config.is_encoder_decoder:
        head = None  # nearly all of a decoder's positions are supervised, and its rows are short
    else:
        head = None
        logger.warning(
            "what %s does to its logits is not known here: those of supervised positions are held",
            type(causal).__name__,
        )
    causal.forward = _ModelForward(causal, head, original)


class _ModelForward:
    """The forward method of one model: with labels its losses, without them the original."""

    def __init__(
        self, model: PreTrainedModel, head: nn.Module | None, original: Callable[..., Any]
    ) -> None:
        self._model = model
        self._head = head
        self._original = original
        # transformers and peft read the signature of a model's forward.
        self.__wrapped__ = original
        self.__name__ = "forward"

    def __call__(self, *args: Any, labels: torch.Tensor | None = None, **inputs: Any) -> Any:
        if labels is None:
            return self._original(*args, **inputs)
        chosen = supervised(labels)
        targets = labels.roll(-1, dims=1)[chosen]
        if self._head is None:
            if self._model.config.is_encoder_decoder:
                chosen = chosen[:, :-1]  # a decoder does not read the last token that it learns
            logits = self._original(*args, **self._kept(chosen), **inputs)["logits"]
            if logits.shape[:2] == chosen.shape:  # all of them came
                logits = logits[chosen]
            found = _of_logits(logits.reshape(-1, logits.shape[-1]), targets, LogitScaling())
        else:
            hidden = self._model.base_model(*args, **inputs)[0]
            found = self._head(hidden[chosen], targets=targets)
        return TokenLosses(loss=found) if torch.is_grad_enabled() else TokenLosses(scores=found)

    def _kept(self, chosen: torch.Tensor) -> dict[str, torch.Tensor]:
        """The argument by which newer models of transformers compute chosen logits alone."""
        takes = "logits_to_keep" in inspect.signature(self._original).parameters
        return {"logits_to_keep": chosen} if takes else {}


class _HeadForward:
    """The forward method of one output layer: with targets their losses, else the original."""

    def __init__(self, head: nn.Module, scaling: LogitScaling) -> None:
        self._head = head
        self._scaling = scaling
        self._original = head.forward
        self.__wrapped__ = head.forward
        self.__name__ = "forward"

    def __call__(self, hidden: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        if targets is None:
            return self._original(hidden)
        head = self._head
        if type(head) is not nn.Linear:  # an adapter on it, say: its own forward must run
            return _of_logits(self._original(hidden), targets, self._scaling)
        losses = summed_cross_entropy if torch.is_grad_enabled() else position_scores
        return losses(hidden, head.weight, head.bias, targets, self._scaling)


def _of_logits(logits: torch.Tensor, targets: torch.Tensor, scaling: LogitScaling) -> torch.Tensor:
    """Losses from [N, V] logits, all of them at once: for output layers of other kinds."""
    logits = logits.float() * scaling.scale
    if scaling.cap is not None:
        logits = (logits / scaling.cap).tanh() * scaling.cap
    if torch.is_grad_enabled():
        return nn.functional.cross_entropy(logits, targets, reduction="sum")
    loss = nn.functional.cross_entropy(logits, targets, reduction="none")
    return torch.stack([loss, (logits.argmax(-1) == targets).float()])
