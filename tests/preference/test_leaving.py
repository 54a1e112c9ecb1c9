"""What has learned from preferences leaves as every other model does: exported, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from export_checkpoints import export
from in_process import run_here
from transformers import AutoModelForSequenceClassification

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.evaluation.questions import read_test_rows
from det_files.export.__main__ import main
from det_files.faults import ConfigError
from det_files.preference.answering import answered_data
from tiny import make_preferences


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_preferences(tmp_path / "data")


def train(directory: Path, model: Path, data: Path, method: str, tuning: str) -> Path:
    hyperparameters = {
        "model_arguments": {"model_name_or_path": str(model), "dtype": "float32"},
        "data_arguments": {"sources": [{"path": str(data)}]},
        "tuning_arguments": {"method": tuning},
        "preference_arguments": {"method": method},
        "training_arguments": {
            "max_steps": 3,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "use_cpu": True,
        },
    }
    return run_here(directory, hyperparameters, "det_files.run_preference")


@pytest.mark.parametrize(
    ("method", "tuning", "form"),
    [("reward", "lora", "merged"), ("reward", "full", "hf"), ("dpo", "lora", "merged")],
)
def test_it_is_exported(
    tmp_path: Path, tiny_model: Path, data: Path, method: str, tuning: str, form: str
) -> None:
    checkpoint = train(tmp_path / "trial", tiny_model, data, method, tuning)
    exported = export(checkpoint, form, tmp_path / "exported", "--check")
    if method == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(exported, dtype=torch.float32)
        assert model.config.num_labels == 1
        assert "AutoModelForSequenceClassification" in (exported / "README.md").read_text()


def test_a_reward_model_has_no_gguf(
    tmp_path: Path, tiny_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = train(tmp_path / "trial", tiny_model, data, "reward", "full")
    with pytest.raises((ConfigError, SystemExit)) as caught:
        main([str(checkpoint), "--to", "gguf", "--output", str(tmp_path / "exported")])
    said = f"{caught.value}{capsys.readouterr().err}"
    assert "a reward model gives one number" in said


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({}, {"input": "prompt", "output": "chosen"}),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            {"input": "q", "output": "a"},
        ),
    ],
)
def test_a_pairs_chosen_answer_is_the_right_one(
    columns: dict[str, str], wanted: dict[str, str]
) -> None:
    source = SourceArguments(path="x", columns=columns)
    data = answered_data(DataArguments(sources=[source]), "dpo")
    assert [source.columns for source in data.sources] == [wanted]


def test_a_marked_answer_is_not_the_right_one(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "one", "completion": "two", "label": True})
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "rows.jsonl").write_text(f"{row}\n")
    data = answered_data(DataArguments(sources=[SourceArguments(path=str(tmp_path))]), "kto")
    assert [source.columns for source in data.sources] == [{"input": "prompt"}]
    with pytest.raises(ConfigError, match="test rows lack their output"):  # nothing to compare
        read_test_rows(data)
