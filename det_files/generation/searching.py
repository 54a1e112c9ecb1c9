"""Answers by transformers' `generate`, a batch at a time.

For beams, encoder-decoders, virtual tokens before the prompts, and whatever other model has rows
that cannot enter and leave a batch (`running.can_run`). `B` prompts a batch, `S` tokens of its
longest prompt, `N` answers a prompt, `T` tokens of the longest answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from det_files.data.languages import forced_language
from det_files.generation.answers import LENGTH, Answer, end_ids, make_answer
from det_files.generation.choice import Choice
from det_files.generation.padding import batches_by_length, pad, pad_id_of
from det_files.generation.positions import has_moving_positions, room_for_answer
from det_files.generation.sampling import Sampling
from det_files.tuning.prompt_state import has_prompt

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, PreTrainedTokenizerBase


def search(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    batch_size: int,
    numbers: Sequence[int],
) -> Iterator[Answer]:
    """Yields the answers to the prompts, the longest prompts' first."""
    ends = end_ids(model, tokenizer)
    copies = sampling.num_return_sequences
    forced_end = getattr(model.generation_config, "forced_eos_token_id", None) is not None
    for batch in search_batches(model, prompts, sampling, batch_size):
        room = room_for_answer(model, len(prompts[batch[0]]), sampling.max_new_tokens)
        limited = replace(sampling, max_new_tokens=room)
        keys = [(numbers[i], sequence) for i in batch for sequence in range(copies)]
        found = generate_batch(model, tokenizer, [prompts[i] for i in batch], limited, keys)
        for (number, sequence), ids in zip(keys, found, strict=True):
            answer = make_answer(tokenizer, ends, ids, number, sequence)
            if forced_end and answer.num_generated_tokens == room:  # BART's own last token
                answer = replace(answer, finish_reason=LENGTH)
            yield answer


def search_batches(
    model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, batch_size: int
) -> Iterator[list[int]]:
    """Yields the places of prompts that `search` answers at once, the longest first.

    Those of one batch are again one batch.
    """

    def apart(length: int) -> bool:
        # What cuts one row's answer, the model's positions, holds for the whole batch.
        limited = room_for_answer(model, length, sampling.max_new_tokens) < sampling.max_new_tokens
        return _needs_equal_lengths(model) or (limited and not model.config.is_encoder_decoder)

    at_once = max(1, batch_size // max(sampling.num_return_sequences, sampling.num_beams))
    return batches_by_length(prompts, at_once, apart)


def generate_batch(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    keys: Sequence[tuple[int, int]],
    **options: Any,
) -> list[list[int]]:
    """Returns the new tokens of each (number, sequence), end token and padding included.

    A causal model returns them behind its prompt, an encoder-decoder behind the decoder's start.
    `options` are `generate`'s own: a streamer, stopping criteria.
    """
    import torch

    decoder = not model.config.is_encoder_decoder
    if sampling.draws:  # each answer is a row of its own; the n best beams come from one
        prompts = [p for p in prompts for _ in range(sampling.num_return_sequences)]
    # A causal model's next token is read off the last position of every row. Encoders pad as they
    # do in training: BART's count positions from the left, whatever the mask says.
    batch = pad(prompts, pad_id_of(tokenizer), left=decoder)
    # No inference mode: under ZeRO-3, parameters that are gathered in it cannot be trained on.
    with torch.no_grad():
        output: torch.Tensor = model.generate(
            **{name: tensor.to(model.device) for name, tensor in batch.items()},
            generation_config=search_config(model, tokenizer, sampling),
            logits_processor=draws_of(sampling, keys),
            **options,
        )  # [B x N, S + T]
    start = batch["input_ids"].shape[1] if decoder else 1
    return output[:, start:].tolist()


def draws_of(sampling: Sampling, keys: Sequence[tuple[int, int]]) -> LogitsProcessorList:
    """Lets greedy search take the tokens that are drawn for the rows (number, sequence)."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    if not sampling.draws:
        return LogitsProcessorList()
    choice = Choice(sampling)

    class Draw(LogitsProcessor):
        """Leaves the drawn token alone with a score."""

        steps = 0

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            tokens = choice.drawn(scores, [(*key, self.steps) for key in keys])
            self.steps += 1
            only = torch.full_like(scores, -torch.inf)
            return only.scatter_(1, tokens[:, None], 0.0)

    return LogitsProcessorList([*choice.warpers, Draw()])


def _needs_equal_lengths(model: Any) -> bool:
    """Whether a row's answer depends on its batch's lengths.

    peft puts virtual embeddings before a batch as it is, and gives no positions with it: padding
    would stand between them and the text, and count. Prefixes are keys and values, which have none.
    """
    if model.config.is_encoder_decoder:
        return False
    if has_prompt(model) and model.active_peft_config.peft_type != "PREFIX_TUNING":
        return True
    return has_moving_positions(model)


def search_config(
    model: Any, tokenizer: PreTrainedTokenizerBase, sampling: Sampling
) -> GenerationConfig:
    """The generation config of a greedy search, or of a search with beams.

    `generate` fills what is left unset from the model's own config, so whatever would bend the
    search is set here; values a model ships (temperature, penalties, lengths) then have no effect.
    What the model must begin with it keeps, or has from the tokenizer's target language. New tokens
    are those that an encoder-decoder has positions for; draws come from `draws_of`.
    """
    from transformers import GenerationConfig

    searches = sampling.num_beams > 1
    return GenerationConfig(
        do_sample=False,
        num_beams=sampling.num_beams,
        num_return_sequences=sampling.num_return_sequences if searches else 1,
        early_stopping=False,
        length_penalty=1.0,
        repetition_penalty=float(sampling.repetition_penalty),
        encoder_repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        encoder_no_repeat_ngram_size=0,
        min_new_tokens=0,  # goes before a min_length, of which generate would warn
        max_new_tokens=room_for_answer(model, 1, sampling.max_new_tokens),
        use_cache=True,  # training switches it off in the model's config
        eos_token_id=end_ids(model, tokenizer) or None,
        pad_token_id=pad_id_of(tokenizer),
        **forced_language(tokenizer),
    )
