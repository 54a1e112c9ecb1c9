"""The tokenizer that goes with an export: the one of training, its chat template included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.export.checkpoint import TOKENIZER_FILE, TrainedCheckpoint
from det_files.models import ModelArguments, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def with_own_tokenizer(checkpoint: TrainedCheckpoint) -> ModelArguments:
    """The run's model with the tokenizer of the checkpoint, where it has one."""
    if (checkpoint.path / TOKENIZER_FILE).is_file():
        return replace(checkpoint.model, tokenizer_name=str(checkpoint.path))
    return checkpoint.model


def tokenizer_of(checkpoint: TrainedCheckpoint) -> PreTrainedTokenizerBase:
    """The tokenizer of the checkpoint, or the base model's where it has none.

    Raises:
        ConfigError: it cannot be loaded.
    """
    return load_tokenizer(with_own_tokenizer(checkpoint))


def export_tokenizer(checkpoint: TrainedCheckpoint, output: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and, where there is one, the chat template."""
    tokenizer_of(checkpoint).save_pretrained(output)
