"""Virtual tokens take positions of a model from an example: as many as there are."""

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import run_here
from transformers import AutoModelForCausalLM

from det_files.faults import ConfigError
from det_files.models import CAUSAL, SEQ2SEQ
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning
from det_files.tuning.prompt_state import saving_prompt
from det_files.tuning.virtual_tokens import reserved_positions
from tiny import make_model


@pytest.mark.parametrize(
    ("method", "kind", "wanted"),
    [
        ("full", CAUSAL, (0, 0)),
        ("lora", SEQ2SEQ, (0, 0)),
        ("prompt", CAUSAL, (7, 0)),
        ("prefix", CAUSAL, (7, 0)),
        ("p_tuning", SEQ2SEQ, (7, 0)),
        ("prefix", SEQ2SEQ, (0, 7)),
    ],
)
def test_they_are_counted_on_the_side_that_has_them(
    method: str, kind: str, wanted: tuple[int, int]
) -> None:
    args = TuningArguments(method=method, num_virtual_tokens=7)
    assert reserved_positions(args, kind) == wanted


def test_an_adapters_are_its_own(tiny_model: Path, tmp_path: Path) -> None:
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    tuned: Any = apply_tuning(base, TuningArguments(method="prompt", num_virtual_tokens=5), base)
    with saving_prompt(tuned, tmp_path, None):
        tuned.save_pretrained(tmp_path)
    args = TuningArguments(method="prompt", adapter=str(tmp_path))
    assert reserved_positions(args, CAUSAL) == (5, 0)


def trained(tmp_path: Path, architecture: str, method: str, source: int, target: int) -> None:
    """Trains a model of 32 positions with 20 virtual tokens on rows of so many words."""
    size = {"n_positions": 32} if architecture == "gpt2" else {"max_position_embeddings": 32}
    model = make_model(tmp_path / "model", architecture, **size)
    for split in ("train", "val"):
        (tmp_path / "data" / split).mkdir(parents=True)
        row = json.dumps({"input": "the " * source, "output": "red " * (target - 1)})
        (tmp_path / "data" / split / "rows.jsonl").write_text(f"{row}\n" * 4)
    hyperparameters = {
        "model_arguments": {"model_name_or_path": str(model), "dtype": "float32"},
        "data_arguments": {"sources": [{"path": str(tmp_path / "data")}], "chat_template": "none"},
        "tuning_arguments": {"method": method, "num_virtual_tokens": 20},
        "training_arguments": {
            "max_steps": 1,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-2,
            "use_cpu": True,
        },
    }
    module = "det_files.run_clm" if architecture == "gpt2" else "det_files.run_seq2seq"
    run_here(tmp_path / "trial", hyperparameters, module)


# A word is a token here, and a side has two or three more.
@pytest.mark.parametrize(
    ("architecture", "method", "source", "target", "fits"),
    [
        ("gpt2", "prompt", 2, 2, True),
        ("gpt2", "prompt", 10, 3, False),
        ("gpt2", "prefix", 10, 3, False),
        ("bart", "prompt", 3, 13, True),
        ("bart", "prompt", 13, 3, False),
        ("bart", "prefix", 13, 3, True),
        ("bart", "prefix", 3, 14, False),
    ],
)
def test_rows_that_leave_them_no_position_are_refused_and_others_train(
    tmp_path: Path, architecture: str, method: str, source: int, target: int, fits: bool
) -> None:
    if fits:
        trained(tmp_path, architecture, method, source, target)
        return
    with pytest.raises(
        ConfigError, match="positions that virtual tokens or generated answers leave"
    ):
        trained(tmp_path, architecture, method, source, target)
