"""The tokenizer that goes with an export: the one of training, its chat template included."""

from __future__ import annotations

import json
from pathlib import Path

from det_files.data.languages import forced_language
from det_files.trained.checkpoint import TrainedCheckpoint
from det_files.trained.tokenizer import tokenizer_of

GENERATION_FILE = "generation_config.json"


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
