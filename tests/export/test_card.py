"""The card says what the checkpoint's files say, and no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from export_checkpoints import Adapters, export
from huggingface_hub import ModelCard

from det_files.export.card import HIDDEN, render_card, without_secrets
from det_files.models import ModelArguments
from det_files.trained.checkpoint import TrainedCheckpoint


def checkpoint(**changes: Any) -> TrainedCheckpoint:
    """A checkpoint with these parts of its run_args.yaml; nothing lies on disk."""
    run = {
        "slots": 4,
        "data_arguments": {
            "packing": True,
            "sources": [
                {"dataset_name": "camel-ai/math", "dataset_config": "main", "weight": 0.25},
                {"path": "/home/someone/letters", "weight": None, "max_train_samples": 100},
            ],
        },
        "tuning_arguments": {"method": "lora", "r": 8, "num_virtual_tokens": 20},
        "training_arguments": {
            "learning_rate": 1e-05,
            "output_dir": "/home/someone/out",
            "hub_token": "hf_abcdefghijklmnop",
            "push_to_hub_token": "very-secret-token",
        },
        "deepspeed": {"zero_optimization": {"stage": 3}},
    }
    history = [
        {"step": 1, "loss": 2.5},
        {"step": 2, "eval_loss": 1.25, "eval_token_accuracy": 0.5, "eval_runtime": 9.0},
        {"step": 4, "loss": 2.0},
        {"step": 4, "eval_loss": 1.5, "eval_token_accuracy": 0.75, "eval_runtime": 9.0},
    ]
    return TrainedCheckpoint(
        Path("absent"),
        run | changes,
        ModelArguments(model_name_or_path="tokyotech-llm/Swallow-7b"),
        {"versions": {"torch": "2.13.0"}, "git_commit": "0123abc", "tokens_seen": 12345},
        {"global_step": 4, "max_steps": 10, "log_history": history},
    )


def test_front_matter_is_what_the_hub_reads() -> None:
    data = ModelCard(render_card(checkpoint(), "adapter", "bfloat16", "mine")).data
    assert data.base_model == "tokyotech-llm/Swallow-7b"
    assert data.library_name == "peft"
    assert data.datasets == ["camel-ai/math"]
    assert "lora" in data.tags


def test_data_hyperparameters_metrics_and_versions_are_tables() -> None:
    card = render_card(checkpoint(), "merged", "bfloat16", "mine")
    for row in (
        "| camel-ai/math (main) | 0.25 | all |",
        "| local: letters | by its rows | the first 100 |",
        "| `r` | `8` |",
        "| `learning_rate` | `1e-05` |",
        "| `zero_stage` | `3` |",
        "| metric | last (step 4) | best by eval_loss (step 2) |",
        "| `eval_loss` | 1.5 | 1.25 |",
        "| torch | 2.13.0 |",
        "| git commit of the code | `0123abc` |",
        "| tokens seen in training | 12,345 |",
    ):
        assert row in card
    assert "At step 4 of 10. Training loss 2." in card
    # What belongs to other methods, to the clock, or to this machine.
    for absent in ("num_virtual_tokens", "eval_runtime", "/home/someone"):
        assert absent not in card


def test_no_secret_reaches_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0a1b2c3d4e5f")
    training = {
        "hub_token": "hf_abcdefghijklmnop",
        "push_to_hub_token": "very-secret-token",
        "run_name": "key 0a1b2c3d4e5f",
        "hub_model_id": "x",
        "note": "see https://me:hunter22@example.org and hf_ZYXWVUTSRQPONM",
    }
    card = render_card(checkpoint(training_arguments=training), "hf", "float32", "mine")
    for secret in ("hf_abc", "very-secret", "0a1b2c3d4e5f", "hunter22", "hf_ZYX"):
        assert secret not in card
    assert card.count(HIDDEN) == 3


def test_ordinary_words_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORT_KEY", "loss")
    assert without_secrets("loss of 20 tokens, key: value") == "loss of 20 tokens, key: value"


def test_a_run_without_validation_says_so() -> None:
    trained = checkpoint()
    trained.state["log_history"] = [{"step": 1, "loss": 2.5}]
    assert "There was no validation." in render_card(trained, "hf", "float32", "mine")


def test_the_card_of_a_real_trial(adapters: Adapters, tmp_path: Path) -> None:
    card = (export(adapters("lora"), "adapter", tmp_path / "out") / "README.md").read_text()
    assert "`eval_perplexity`" in card and "| `lora_alpha` | `16` |" in card
    assert ModelCard(card).data.base_model is None  # a directory is no id of the hub
