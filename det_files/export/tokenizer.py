"""The tokenizer that goes with an export: the one of training, its chat template included."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.data.languages import forced_language, set_languages
from det_files.export.checkpoint import TOKENIZER_FILE, TrainedCheckpoint
from det_files.models import ModelArguments, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION_FILE = "generation_config.json"


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


def export_tokenizer(checkpoint: TrainedCheckpoint, output: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and, where there is one, the chat template.

    Where the tokenizer writes languages, generation_config.json is told the target's.
    """
    tokenizer = tokenizer_of(checkpoint)
    tokenizer.save_pretrained(output)
    if language := forced_language(tokenizer):
        file = output / GENERATION_FILE
        settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        text = json.dumps(settings | language, indent=2, sort_keys=True)
        file.write_text(text + "\n", encoding="utf-8")
