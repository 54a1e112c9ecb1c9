"""load_data: from a directory to datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.dataset import TrainingData, load_data
from det_files.faults import ConfigError


@pytest.fixture
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_model)


def load(path: Path, tokenizer: PreTrainedTokenizerBase, config: Any = None, **more: Any):
    args = DataArguments(sources=[SourceArguments(path=str(path))], **more)
    return load_data(args, tokenizer, config)


def test_splits_become_datasets_of_examples(
    tiny_data: Path, tiny_model: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    data: TrainingData = load(tiny_data, tokenizer, AutoConfig.from_pretrained(tiny_model))
    assert (len(data.train), len(data.val)) == (40, 11)
    first = json.loads((tiny_data / "val" / "rows.jsonl").read_text().splitlines()[0])
    learned = [label for label in data.val[0]["labels"] if label != -100]
    assert tokenizer.decode(learned) == first["output"] + "<|im_end|>"
    assert data.template.chat


def test_the_models_positions_are_heeded(
    tiny_data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    config = AutoConfig.for_model("gpt2", n_positions=20)  # it has another name for them
    with pytest.raises(ConfigError, match="longer than the model's 20 positions"):
        load(tiny_data, tokenizer, config)


@pytest.mark.parametrize(
    ("val", "fault"),
    [("", "the val split has no rows"), ('{"text": ""}', "the val split has no rows")],
)
def test_a_split_without_anything_to_learn_is_refused(
    val: str, fault: str, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    for split, text in (("train", '{"text": "one two three"}'), ("val", val)):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.jsonl").write_text(f"{text}\n")
    with pytest.raises(ConfigError, match=fault):
        load(tmp_path, tokenizer)
