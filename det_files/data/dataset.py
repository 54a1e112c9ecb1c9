"""load_data: the source's splits as datasets of tokenized examples."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.utils.data import Dataset

from det_files.data.arguments import DataArguments
from det_files.data.sources import SECTION, Row, Splits, read_splits
from det_files.data.templates import Template
from det_files.data.tokenization import IGNORED, Example, Tokenized, describe, tokenize_rows
from det_files.faults import ConfigError, Fault

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class Examples(Dataset[Example]):
    """Tokenized examples in memory."""

    def __init__(self, examples: list[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


@dataclass(frozen=True)
class TrainingData:
    """What a trainer needs: two datasets and the template that made them."""

    train: Examples
    val: Examples
    template: Template


def load_data(
    args: DataArguments,
    tokenizer: PreTrainedTokenizerBase,
    model_config: PretrainedConfig | None = None,
    seed: int = 42,
) -> TrainingData:
    """Reads, splits, templates and tokenizes; logs what each split holds and what was cut.

    `model_config` gives the number of positions that an example must fit; `seed` chooses the rows
    of val where the source has none.

    Raises:
        ConfigError: see `read_splits` and `tokenize_rows`; or a split has nothing to learn from.
    """
    template = Template.of(args, tokenizer)
    splits = read_splits(args, seed)
    positions = _positions(model_config)
    made: dict[str, Examples] = {}
    for name in ("train", "val"):
        rows: list[Row] = getattr(splits, name)
        tokenized = tokenize_rows(rows, args, template, positions)
        _check_learnable(name, tokenized, splits)
        logger.info("data: %s", describe(name, tokenized))
        made[name] = Examples(tokenized.examples)
    return TrainingData(made["train"], made["val"], template)


def _positions(config: PretrainedConfig | None) -> int | None:
    value = getattr(config, "max_position_embeddings", None)
    return int(value) if isinstance(value, int) and value > 0 else None


def _check_learnable(name: str, tokenized: Tokenized, splits: Splits) -> None:
    if not tokenized.examples:
        raise ConfigError(Fault(SECTION, f"the {name} split has no rows"))
    if not any(
        label != IGNORED for example in tokenized.examples for label in example["labels"][1:]
    ):
        raise ConfigError(Fault(SECTION, f"the {name} split has no supervised token"))
