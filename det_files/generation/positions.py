"""How many tokens a model has positions for, and what that leaves an answer."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from det_files.tuning.prompt_state import has_prompt

logger = logging.getLogger(__name__)


def positions_of(model: Any) -> int | None:
    """Tokens that prompt and answer of a model may have together, or an encoder-decoder's answer.

    Virtual tokens of a tuned prompt have taken theirs already. None: the model names no limit.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(positions, int):
        return None
    if has_prompt(model):
        prompt = model.active_peft_config
        # An encoder-decoder's virtual tokens stand before its encoder, unless they are a prefix.
        if not model.config.is_encoder_decoder or prompt.peft_type == "PREFIX_TUNING":
            positions -= prompt.num_virtual_tokens
    return positions


def longest_prompt(model: Any) -> int | None:
    """Tokens of the longest prompt behind which there is room for one token; None: any.

    A decoder's share their positions with the answer; an encoder has its own.
    """
    if not model.config.is_encoder_decoder:
        return positions_of(model)
    positions = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(positions, int):  # T5's are relative
        return None
    # Virtual tokens stand before the encoder, unless they are a prefix of every layer.
    if has_prompt(model) and model.active_peft_config.peft_type != "PREFIX_TUNING":
        positions -= model.active_peft_config.num_virtual_tokens
    return positions


def room_for_answer(model: Any, prompt_tokens: int, wanted: int) -> int:
    """So many new tokens, or those that the model has positions for; a warning says so.

    The last token needs no position: nothing is read off it. A decoder of an encoder-decoder
    begins with one token, whatever the prompt.
    """
    positions = positions_of(model)
    if positions is None:
        return wanted
    encodes = model.config.is_encoder_decoder
    room = max(0, positions - (1 if encodes else prompt_tokens) + 1)
    if wanted > room:
        whose = "are more than the decoder's" if encodes else "and a prompt exceed the model's"
        _warn(f"{wanted} new tokens {whose} {positions} positions")
    return min(wanted, room)


@cache
def _warn(fact: str) -> None:
    logger.warning("generation: %s: answers end there", fact)


def has_moving_positions(model: Any) -> bool:
    """Whether what a position means depends on how long the batch's longest row is.

    So it is with the rotary types that stretch themselves beyond the length of pretraining.
    """
    rope = getattr(model.config, "rope_parameters", None)
    if not isinstance(rope, dict):
        return False
    parts = [rope, *(part for part in rope.values() if isinstance(part, dict))]  # by layer type
    return any(part.get("rope_type") in ("dynamic", "longrope") for part in parts)
