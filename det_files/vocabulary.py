"""A tokenizer with more tokens than the model: embeddings for the new ones.

V rows of the model's tables, H hidden size. Tables grow to a multiple of 64 rows, which matrix
units want (NVIDIA, "Tensor Core Requirements"), and new rows are the mean of the old ones: no new
token is more likely than the average one, and nothing is drawn at random (Hewitt 2021,
"Initializing New Word Embeddings for Pretrained Language Models").
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from det_files.faults import ConfigError, Fault
from det_files.tuning.targets import shared_tables

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

MULTIPLE = 64


def embedded_tokens(model: PreTrainedModel) -> int:
    """V. Under ZeRO-3 a table is empty outside a gather, so the configuration is asked."""
    rows = getattr(model.config, "vocab_size", None)
    return int(rows or model.get_input_embeddings().num_embeddings)


def fit_vocabulary(model: PreTrainedModel, tokens: int, where: str, extended: bool) -> None:
    """Gives the model rows for `tokens` tokens, where it has fewer.

    Args:
        model: changed in place, its configuration too.
        tokens: of the tokenizer.
        where: what a fault is placed at.
        extended: whether a tokenizer of another name was asked for; the model's own, with more
            tokens than the model, is a mistake of whoever made it.

    Raises:
        ConfigError: it has fewer, and was not to be extended.
    """
    rows = embedded_tokens(model)
    if tokens <= rows:
        if extended:
            logger.info(
                "tokenizer: its %d tokens find place in the model's %d rows, which stay as they "
                "are: what stood for padding or for another token stands for a new one",
                tokens,
                rows,
            )
        return
    if not extended:
        reason = f"the tokenizer has {tokens} tokens and {model.config.name_or_path} embeds {rows}"
        raise ConfigError(Fault(where, reason))
    model.resize_token_embeddings(tokens, pad_to_multiple_of=MULTIPLE, mean_resizing=False)
    both = (model.get_input_embeddings(), model.get_output_embeddings())
    tables = {id(table): table for table in both if table is not None}
    for table in tables.values():
        _set_new_rows(table, rows)
    names = _names(model, tables)
    if any(shared_tables(model, name) for name in names):
        trained = "only method: full trains them, since encoder and decoder share one table"
    else:
        trained = f"adapters leave them so, unless modules_to_save names {', '.join(names)}"
    logger.warning(
        "tokenizer: %d tokens are new to the model; their embeddings begin as the mean of the "
        "others; %s",
        tokens - rows,
        trained,
    )


def _set_new_rows(table: nn.Module, rows: int) -> None:
    import torch
    from peft.utils.integrations import gather_params_ctx

    with gather_params_ctx(table.parameters()), torch.no_grad():
        for parameter in table.parameters():  # weight [V, H], and of some output layers bias [V]
            if len(parameter) > rows:
                parameter[rows:] = parameter[:rows].float().mean(dim=0).to(parameter.dtype)


def _names(model: PreTrainedModel, wanted: Collection[int]) -> list[str]:
    """The last parts of the names of modules with these identities."""
    named = model.named_modules(remove_duplicate=False)
    found = (name.rsplit(".", 1)[-1] for name, module in named if id(module) in wanted)
    return list(dict.fromkeys(found))
