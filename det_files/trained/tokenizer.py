"""The tokenizer of a trained model: the one of training, its chat template included."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from det_files.data.languages import set_languages
from det_files.models import ModelArguments, load_tokenizer
from det_files.trained.checkpoint import TOKENIZER_FILE, TrainedCheckpoint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def with_own_tokenizer(checkpoint: TrainedCheckpoint) -> ModelArguments:
    """The run's model with the tokenizer of the checkpoint, where it has one."""
    if (checkpoint.path / TOKENIZER_FILE).is_file():
        return replace(checkpoint.model, tokenizer_name=str(checkpoint.path))
    return checkpoint.model


def tokenizer_of(checkpoint: TrainedCheckpoint) -> PreTrainedTokenizerBase:
    """The tokenizer of the checkpoint, or the base model's where it has none.

    mBART's has the languages of the run.

    Raises:
        ConfigError: it cannot be loaded, or does not know the run's languages.
    """
    tokenizer = load_tokenizer(with_own_tokenizer(checkpoint))
    data = checkpoint.run["data_arguments"]
    set_languages(tokenizer, data.get("source_language"), data.get("target_language"))
    return tokenizer
