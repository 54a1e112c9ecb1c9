"""Greedy answers of a language model to many prompts, in batches.

    prompts (token ids, ragged) -> batches of like length -> [B, S] padded -> generate -> text

`B` prompts a batch, `S` tokens of its longest prompt. Prompts come as token ids, so that they are
the very ones that training made: rendering and tokenizing belong to the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from det_files.data.languages import generation_options

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedTokenizerBase


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
    language = generation_options(tokenizer) if model.config.is_encoder_decoder else {}
    config = _greedy(_pad_id(tokenizer), ends, max_new_tokens, language)
    answers = [""] * len(prompts)
    left = not model.config.is_encoder_decoder
    was_training = model.training
    model.eval()
    try:
        for numbers in batches_by_length(prompts, batch_size):
            batch = pad([prompts[n] for n in numbers], _pad_id(tokenizer), left)
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


def batches_by_length(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Yields the prompts' numbers in batches of like length, the longest first.

    The longest come first so that memory that does not suffice shows at once.
    """
    order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def pad(
    prompts: Sequence[Sequence[int]], pad_id: int, left: bool = True
) -> dict[str, torch.Tensor]:
    """Returns input_ids and attention_mask [B, S], padding before the prompts or behind them.

    On the left, because the next token is read off the last position of every row. Encoders read on
    the right, as in training: BART's count positions from a row's begin, whatever the mask says.
    """
    import torch

    length = max(map(len, prompts))
    padding = [length - len(prompt) for prompt in prompts]
    ids, mask = [], []
    for n, prompt in zip(padding, prompts, strict=True):
        before, behind = (n, 0) if left else (0, n)
        ids.append([pad_id] * before + list(prompt) + [pad_id] * behind)
        mask.append([0] * before + [1] * len(prompt) + [0] * behind)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


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


def _greedy(
    pad_id: int, ends: Sequence[int], max_new_tokens: int, language: dict[str, int]
) -> GenerationConfig:
    """The generation config of plain greedy search.

    `generate` fills what is left unset from the model's own config, so whatever would bend greedy
    search is set here; sampling values a model ships (temperature, top_p) then have no effect.
    """
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        max_new_tokens=max_new_tokens,
        use_cache=True,  # training switches it off in the model's config
        eos_token_id=list(ends) or None,
        pad_token_id=pad_id,
        **language,
    )
