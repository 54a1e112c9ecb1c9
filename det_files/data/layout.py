"""The layout of batches: rows padded, rows end to end, or blocks of a fixed number of tokens."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from det_files.data.arguments import BLOCKS, DataArguments
from det_files.data.collator import (
    Item,
    PackingCollator,
    PaddingCollator,
    SourceTargetCollator,
)
from det_files.data.dataset import TrainingData
from det_files.data.mixture import MixtureOrder
from det_files.data.packing import Blocks
from det_files.data.sampler import Order

if TYPE_CHECKING:
    import numpy as np
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

Collator = PaddingCollator | PackingCollator | SourceTargetCollator
logger = logging.getLogger(__name__)

# Matrix units of GPUs want shapes in multiples of 8 (NVIDIA, "Tensor Core Requirements").
_GPU_MULTIPLE = 8


@dataclass(frozen=True)
class Layout:
    """Datasets whose items a batch counts, the order of training, and the collator.

    `lengths` and `val_lengths` are the tokens of each item.
    """

    train: Dataset[Item]
    val: Dataset[Item]
    order: Order
    lengths: np.ndarray
    val_lengths: np.ndarray
    collator: Collator


def collator_of(
    packing: bool,
    isolated: bool,
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig | None = None,
) -> Collator:
    """The collator of a model's batches.

    Args:
        packing: whether rows are to lie end to end.
        isolated: whether the model keeps such rows apart. Where it does not, they are padded
            instead: slower, with the same losses.
        tokenizer: for its padding token.
        config: the model's.
    """
    padding = int(tokenizer.pad_token_id)
    if packing and not isolated:
        logger.warning("packing: not in this architecture, or with this method: padded instead")
    if config is not None and config.is_encoder_decoder:
        # mBART's decoder begins with the language, which its tokenizer writes last.
        last = getattr(config, "model_type", "") == "mbart"
        return SourceTargetCollator(padding, None if last else config.decoder_start_token_id)
    if packing and isolated:
        return PackingCollator(padding, _GPU_MULTIPLE if torch.cuda.is_available() else 1)
    return PaddingCollator(padding)


def lay_out(
    args: DataArguments,
    data: TrainingData,
    collator: Collator,
    seed: int,
) -> Layout:
    """Chooses the layout that the arguments ask for and the model can have.

    Args:
        args: `packing` and `block_size`.
        data: rows of both splits, and their order.
        collator: see `collator_of`.
        seed: of blocks.
    """
    if args.packing != BLOCKS:
        lengths = (data.train.lengths, data.val.lengths)
        return Layout(data.train, data.val, data.order, *lengths, collator)
    blocks = Blocks(data.train, data.order, args.block_size, seed, mixture=len(args.sources) > 1)
    val = Blocks(data.val, MixtureOrder([len(data.val)], None), args.block_size, seed)
    logger.info(
        "packing: %d rows in %d blocks of %d tokens, %.1f %% filled",
        data.order.rows,
        len(blocks),
        args.block_size,
        100 * blocks.fill,
    )
    return Layout(blocks, val, blocks, blocks.lengths, val.lengths, collator)
