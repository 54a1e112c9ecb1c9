"""The cells of docs/methods.md: each architecture × method trains, saves, reloads and generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import last_validation, run_here

from det_files.data.arguments import DataArguments, SourceArguments
from det_files.data.dataset import load_data
from det_files.generation.decoding import generate_answers
from det_files.models import ModelArguments, load_model
from det_files.tuning.adapters import load_adapter
from tiny import SEQ2SEQ, make_data, make_model

ARCHITECTURES = [
    *("bloom", "gemma", "gpt2", "gpt_neox", "gptj", "llama", "mistral", "opt", "phi", "phi3"),
    *("qwen2", "qwen3"),
]
METHODS = ["full", "lora", "prompt"]
# What tries out one more method on one architecture.
MORE = ["dora", "ia3", "p_tuning", "prefix"]
LEARNING_RATE = {"full": 5e-3, "lora": 1e-2, "dora": 1e-2, "ia3": 1e-1}
CELLS = [
    *[(architecture, method, "none") for architecture in ARCHITECTURES for method in METHODS],
    *[("llama", method, "none") for method in MORE],
    *[("gpt2", method, "none") for method in MORE],
    *[(architecture, method, "none") for architecture in SEQ2SEQ for method in METHODS],
    *[("t5", method, "none") for method in MORE],
    # The same on a base model in 4 bits, which full tuning cannot have.
    *[(architecture, "lora", "nf4") for architecture in [*ARCHITECTURES, *SEQ2SEQ]],
    *[("llama", method, "nf4") for method in ["prompt", *MORE]],
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), train=16, val=5)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def plain_loss(model: Any, rows: Any) -> float:
    """Mean loss of supervised tokens by the model's own forward pass, row by row."""
    total, count = 0.0, 0
    for row in (rows[i] for i in range(len(rows))):
        ids, labels = row["input_ids"], row["labels"].clone()
        if model.config.is_encoder_decoder:
            ids, labels = ids[labels == -100], labels[labels != -100]
        else:
            labels[0] = -100
        learned = int((labels != -100).sum())
        ids, labels = ids[None], labels[None]
        with torch.no_grad():
            out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels)
        total += float(out.loss) * learned
        count += learned
    return total / count


# Through a window of 5 tokens in every layer, answers would not see a prompt that is to be learned.
WIDER = {"mistral": {"sliding_window": 64}}


@pytest.mark.parametrize(("architecture", "method", "quantization"), CELLS)
def test_a_cell_trains_saves_reloads_and_generates(
    models: Path, data: Path, tmp_path: Path, architecture: str, method: str, quantization: str
) -> None:
    directory = models / architecture
    if not directory.exists():
        make_model(directory, architecture, **WIDER.get(architecture, {}))
    kind = "seq2seq" if architecture in SEQ2SEQ else "causal"
    chosen = ModelArguments(str(directory), dtype="float32", quantization=quantization)
    checkpoint = run_here(
        tmp_path / "trial",
        {
            "model_arguments": {
                "model_name_or_path": str(directory),
                "dtype": "float32",
                "quantization": quantization,
            },
            "data_arguments": {"sources": [{"path": str(data)}], "packing": True},
            "tuning_arguments": {"method": method},
            "training_arguments": {
                "max_steps": 8,
                "per_device_train_batch_size": 4,
                "learning_rate": LEARNING_RATE.get(method, 3e-1),
                "use_cpu": True,
            },
        },
        "det_files.run_seq2seq" if kind == "seq2seq" else "det_files.run_clm",
    )
    before, tokenizer = load_model(chosen, kind=kind)
    rows = load_data(
        DataArguments(sources=[SourceArguments(path=str(data))]), tokenizer, before.config, 42
    ).val
    untrained = plain_loss(before.eval(), rows)
    if method == "full":
        again, _ = load_model(ModelArguments(str(checkpoint), dtype="float32"), kind=kind)
    else:
        again = load_adapter(before, str(checkpoint))
    logged = last_validation(tmp_path / "trial")["eval_loss"]
    assert plain_loss(again.eval(), rows) == pytest.approx(logged, rel=1e-5)
    assert logged < untrained
    prompts = [rows[i]["input_ids"].tolist()[:7] for i in range(3)]
    answers = generate_answers(again, tokenizer, prompts, max_new_tokens=5)
    assert len(answers) == 3
