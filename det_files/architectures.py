"""What is known of transformers' causal language models, by their configuration's `model_type`.

Only what a test has compared with transformers' own losses and gradients stands here
(tests/test_loss_head.py); any other model still trains, by its own forward pass and with padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from det_files.losses import LogitScaling


def _plain(config: Any) -> LogitScaling:
    return LogitScaling()


def _capped(config: Any) -> LogitScaling:
    cap = config.final_logit_softcapping
    return LogitScaling(cap=None if cap is None else float(cap))


def _scaled(config: Any) -> LogitScaling:
    return LogitScaling(scale=float(config.logit_scale))


def _divided(config: Any) -> LogitScaling:
    return LogitScaling(scale=1.0 / float(config.logits_scaling))


@dataclass(frozen=True)
class Architecture:
    """How a model gets from its last hidden states to logits, and whether rows can be packed.

    `rows_apart` says that nothing but attention looks from token to token, that it takes the
    positions that it is given, and that it is plain scaled dot-product attention, with a window or
    without.
    """

    scaling: Callable[[Any], LogitScaling] = _plain
    rows_apart: bool = True


KNOWN: dict[str, Architecture] = {
    "bloom": Architecture(rows_apart=False),  # alibi
    "cohere": Architecture(_scaled),
    "cohere2": Architecture(_scaled),
    "gemma": Architecture(),
    "gemma2": Architecture(_capped, rows_apart=False),  # capped attention scores
    "gemma3_text": Architecture(_capped),
    "gpt2": Architecture(),
    "gpt_neox": Architecture(),
    "gptj": Architecture(rows_apart=False),  # its attention cannot be exchanged
    "granite": Architecture(_divided),
    "llama": Architecture(),
    "mistral": Architecture(),
    "olmo2": Architecture(),
    "opt": Architecture(),
    "phi": Architecture(),
    "phi3": Architecture(),
    "qwen2": Architecture(),
    "qwen3": Architecture(),
    "smollm3": Architecture(),
    "starcoder2": Architecture(),
}


def architecture_of(config: Any) -> Architecture | None:
    """What is known of the model of this configuration; None for others."""
    return KNOWN.get(getattr(config, "model_type", ""))
