"""The layout of batches: rows padded, rows end to end, or blocks of a fixed number of tokens."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from det_files.data.arguments import BLOCKS, DataArguments
from det_files.data.collator import Item, PackingCollator, PaddingCollator
from det_files.data.dataset import TrainingData
from det_files.data.mixture import MixtureOrder
from det_files.data.packing import Blocks
from det_files.data.sampler import Order

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

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
    collator: PaddingCollator | PackingCollator


def lay_out(
    args: DataArguments,
    data: TrainingData,
    tokenizer: PreTrainedTokenizerBase,
    isolated: bool,
    seed: int,
) -> Layout:
    """Chooses the layout that the arguments ask for and the model can have.

    Args:
        args: `packing` and `block_size`.
        data: rows of both splits, and their order.
        tokenizer: for its padding token.
        isolated: whether the model keeps rows that lie end to end apart. Where it does not, rows
            of a packed batch are padded instead: slower, with the same losses.
        seed: of blocks.
    """
    padding = int(tokenizer.pad_token_id)
    collator: PaddingCollator | PackingCollator = PaddingCollator(padding)
    if args.packing and isolated:
        multiple = _GPU_MULTIPLE if torch.cuda.is_available() else 1
        collator = PackingCollator(padding, multiple)
    elif args.packing:
        logger.warning("packing: not in this architecture, or with this method: padded instead")
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
