"""Prompt tuning: what the virtual tokens before every row are when training begins.

V virtual tokens, H hidden size. peft could do this, too; but it would load the tokenizer by a name
that it keeps in the saved prompt, and repeat or cut a text without a word.
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault
from det_files.tuning.arguments import SECTION, TuningArguments

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def initialise_prompt(
    model: Any, args: TuningArguments, tokenizer: PreTrainedTokenizerBase, seed: int
) -> None:
    """Sets the virtual tokens [V, H] of a peft model as `init` says.

    - random: as they are, drawn by peft;
    - vocab: the embeddings of tokens drawn from the vocabulary by `seed`;
    - text: those of `init_text`, repeated or cut.

    Raises:
        ConfigError: the text has no tokens.
    """
    if args.init == "random":
        return
    import torch

    prompt = model.prompt_encoder[model.active_adapter].embedding.weight  # [V, H]
    if args.init == "text":
        ids = text_ids(args.init_text or "", len(prompt), tokenizer)
    else:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(len(tokenizer), (len(prompt),), generator=generator).tolist()
    with torch.no_grad():
        prompt.copy_(_embeddings(model.get_base_model(), ids))


def text_ids(text: str, count: int, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """`count` token ids of the text, repeated where it is shorter; a warning says what is cut."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids:
        raise ConfigError(Fault(f"{SECTION}.init_text", "has no tokens"))
    if len(ids) > count:
        lost = tokenizer.decode(ids[count:])
        logger.warning(
            "tuning: init_text has %d tokens and num_virtual_tokens is %d: cut off: %r",
            len(ids),
            count,
            lost,
        )
    return list(itertools.islice(itertools.cycle(ids), count))


def _embeddings(base: Any, ids: list[int]) -> torch.Tensor:
    """[V, H] embeddings of tokens; of a partitioned model (ZeRO-3), gathered for the moment."""
    from peft.utils.integrations import gather_params_ctx

    table = base.get_input_embeddings()
    with gather_params_ctx(table.parameters()):
        return table.weight[ids].detach().clone()
