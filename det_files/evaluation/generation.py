"""Greedy answers of a language model to many prompts, in batches.

    prompts (token ids, ragged) -> batches of like length -> [B, S], padded -> generate -> text

`B` prompts a batch, `S` tokens of its longest prompt. Prompts come as token ids, so that they are
the very ones that training made: rendering and tokenizing belong to the data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby, takewhile
from typing import TYPE_CHECKING, Any

from det_files.data.languages import forced_language
from det_files.tuning.prompt_state import has_prompt

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def generate_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
) -> list[str]:
    """Returns one answer a prompt, in the order given; special tokens are not part of it.

    Decoding is greedy whatever the model's generation config says. An answer ends at an end token
    of the tokenizer or of the model, or after `max_new_tokens`. The model is left in the mode
    (train or eval) it was in.

    Args:
        model: a transformers model, or a peft model (with its adapter on, or in
            `disable_adapter()`).
        tokenizer: its tokenizer; which side it pads on does not matter. mBART answers in the
            language that it has as its target.
        prompts: token ids of each prompt, generation prompt included; none may be empty.
        max_new_tokens: tokens of the longest answer.
        batch_size: prompts that are generated for at once.

    Raises:
        ValueError: a prompt is empty.
    """
    if any(len(prompt) == 0 for prompt in prompts):
        raise ValueError(f"prompt {[len(p) for p in prompts].index(0)} has no tokens")
    ends = end_ids(model, tokenizer)
    config = search_config(model, tokenizer, max_new_tokens)
    answers = [""] * len(prompts)
    was_training = model.training
    model.eval()
    try:
        for numbers in batches_by_length(prompts, batch_size, _needs_equal_lengths(model)):
            batch = pad([prompts[n] for n in numbers], _pad_id(tokenizer), _pads_left(model))
            for number, ids in zip(numbers, _generate(model, batch, config), strict=True):
                answers[number] = tokenizer.decode(until_end(ids, ends), skip_special_tokens=True)
    finally:
        model.train(was_training)
    return answers


def _generate(
    model: Any, batch: dict[str, torch.Tensor], config: GenerationConfig
) -> list[list[int]]:
    """The new tokens of each row of a batch [B, S], end token and padding behind it included.

    A causal model returns them behind its prompt, an encoder-decoder behind the decoder's start.
    """
    import torch

    with torch.inference_mode():
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
        output: torch.Tensor = model.generate(**on_device, generation_config=config)  # [B, S + T]
    start = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
    return output[:, start:].tolist()


def batches_by_length(
    prompts: Sequence[Sequence[int]], batch_size: int, equal: bool = False
) -> Iterator[list[int]]:
    """Yields the prompts' numbers in batches of like (or `equal`) length, the longest first.

    The longest come first so that memory that does not suffice shows at once.
    """
    order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    groups = groupby(order, lambda number: len(prompts[number]) if equal else 0)
    for group in (list(numbers) for _, numbers in groups):
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _needs_equal_lengths(model: Any) -> bool:
    """Whether padding would stand between virtual tokens and text, and count as positions there.

    peft puts virtual embeddings before a batch as it is, and gives no positions with it; prefixes
    are keys and values, which have none.
    """
    if model.config.is_encoder_decoder or not has_prompt(model):
        return False
    return bool(model.active_peft_config.peft_type != "PREFIX_TUNING")


def _pads_left(model: Any) -> bool:
    """Whether padding stands before the prompts.

    A causal model's next token is read off the last position of every row. Encoders pad as they do
    in training: BART's count positions from the left, whatever the mask says.
    """
    return not model.config.is_encoder_decoder


def pad(prompts: Sequence[Sequence[int]], pad_id: int, left: bool) -> dict[str, torch.Tensor]:
    """Returns input_ids and attention_mask [B, S], padded before or behind the prompts."""
    import torch

    length = max(map(len, prompts))
    rows = []
    for prompt in prompts:
        padding = [(pad_id, 0)] * (length - len(prompt))
        tokens = [(token, 1) for token in prompt]
        rows.append(padding + tokens if left else tokens + padding)
    ids, mask = torch.tensor(rows).unbind(-1)
    return {"input_ids": ids.contiguous(), "attention_mask": mask.contiguous()}


def end_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the ids that end an answer: the tokenizer's, and those of the model's own config.

    Chat models often have more than one; a tokenizer names only the first.
    """
    own = model.generation_config.eos_token_id
    ids = set(own) if isinstance(own, list) else {own}
    return sorted(i for i in ids | {tokenizer.eos_token_id} if i is not None)


def until_end(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Returns the ids before the first end token; what follows it is padding."""
    return list(takewhile(lambda i: i not in ends, ids))


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    # Any id will do where there is no padding token: the mask hides it.
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)


def search_config(
    model: Any, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, beams: int = 1
) -> GenerationConfig:
    """The generation config of plain greedy search, or of a search with so many beams.

    `generate` fills what is left unset from the model's own config, so whatever would bend the
    search is set here; values a model ships (temperature, penalties, lengths) then have no effect.
    What the model must begin with it keeps, or has from the tokenizer's target language.
    """
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=beams,
        early_stopping=False,
        length_penalty=1.0,
        repetition_penalty=1.0,
        encoder_repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        encoder_no_repeat_ngram_size=0,
        min_length=0,
        min_new_tokens=0,
        max_new_tokens=within_positions(model, max_new_tokens),
        use_cache=True,  # training switches it off in the model's config
        eos_token_id=end_ids(model, tokenizer) or None,
        pad_token_id=_pad_id(tokenizer),
        **forced_language(tokenizer),
    )


def within_positions(model: Any, tokens: int) -> int:
    """So many new tokens, or those that a decoder of its own has positions for; a warning says so.

    Its positions are the decoder's start and all new tokens but the last.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if not model.config.is_encoder_decoder or not isinstance(positions, int):
        return tokens
    if has_prompt(model) and model.active_peft_config.peft_type == "PREFIX_TUNING":
        positions -= model.active_peft_config.num_virtual_tokens
    if tokens > positions:
        _warn_of_positions(tokens, positions)
    return min(tokens, positions)


@cache
def _warn_of_positions(tokens: int, positions: int) -> None:
    logger.warning(
        "generation: %d new tokens are more than the decoder's %d positions: answers end there",
        tokens,
        positions,
    )
