"""The contenders: what they count, and that each really trains in steps on demand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.contenders.matrix_ceiling import linear_layers, product_seconds
from benchmarks.contenders.pacing import count_tokens
from benchmarks.contenders.process import ContenderFailed, Process
from benchmarks.contenders.rows import IGNORED, prompt_completion, read_rows, tokenize
from benchmarks.contenders.work import (
    CEILING,
    OURS,
    PADDED,
    TRL,
    Contender,
    Work,
    from_mapping,
    of_ours,
    of_trl,
    to_mapping,
)
from det_files.data.collator import PackingCollator, PaddingCollator
from tiny import make_data, make_model

# Rows of 3 and 5 tokens, of which 1 and 3 are learned.
ROWS = [
    {"input_ids": [5, 6, 7], "labels": [IGNORED, IGNORED, 7]},
    {"input_ids": [5, 6, 7, 8, 9], "labels": [IGNORED, IGNORED, 7, 8, 9]},
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    place = tmp_path_factory.mktemp("contenders")
    return Work(
        model=str(make_model(place / "model")),
        data=str(make_data(place / "data")),
        method="lora",
        dtype="float32",
        device="cpu",
        rows=30,
        row_tokens=32.0,
        row_supervised=8.0,
        tokens_per_step=128,
        block_size=64,
        learning_rate=1e-4,
        optim="adamw_torch",
        threads=1,
    )


def counts(batch: dict[str, Any]) -> tuple[int, int]:
    found = count_tokens(batch)
    return int(found["tokens"]), int(found["supervised"])


@pytest.mark.parametrize("collator", [PaddingCollator(0), PackingCollator(0, multiple=32)])
def test_our_batches_count_neither_padding_nor_filling(collator: Any) -> None:
    rows = [{key: torch.tensor(value) for key, value in row.items()} for row in ROWS]
    assert counts(collator(rows)) == (8, 4)


@pytest.mark.parametrize("padding_free", [False, True])
def test_batches_of_trl_count_alike(padding_free: bool) -> None:
    trl = pytest.importorskip("trl.trainer.sft_trainer", reason="needs trl==1.16.0")
    collator = trl.DataCollatorForLanguageModeling(pad_token_id=0, padding_free=padding_free)
    assert counts(collator(ROWS)) == (8, 4)


def test_a_row_learns_its_answer_alone(work: Work) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work.model)
    row = read_rows(work.data, 1)[0]
    found = tokenize(row, tokenizer)
    learned = [token for token in found["labels"] if token != IGNORED]
    assert tokenizer.decode(learned) == f"{row['output']}<|im_end|>\n"
    assert row["input"] in tokenizer.decode(found["input_ids"])
    assert prompt_completion(row, chat=False)["completion"] == row["output"]


def test_every_configuration_has_about_the_same_tokens_a_step(work: Work) -> None:
    for contender in [*of_trl(work), *of_ours(work, compiled=True)]:
        items = contender.micro_batch(work) * contender.accumulation
        size = work.block_size if contender.layout in ("packed", "blocks") else work.row_tokens
        assert items * size == work.tokens_per_step, contender.name
        assert from_mapping(to_mapping(work, contender)) == (work, contender)


def test_the_ceiling_knows_every_linear_layer(work: Work) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(work.model))
    layers = linear_layers(model, tokens=10, supervised=4)
    body = sum(p.numel() for name, p in model.named_parameters() if name.endswith("proj.weight"))
    head = model.get_output_embeddings().weight.numel()
    assert sum(layer.flops(2) for layer in layers) == 4 * (10 * body + 4 * head)
    assert product_seconds(layers[0], torch.float32, "cpu", weights=True) > 0


@pytest.mark.parametrize(
    "contender",
    [
        Contender(OURS, "blocks"),
        Contender(TRL, "packed"),
        Contender(PADDED, "padded"),
        Contender(CEILING, "products"),
    ],
    ids=lambda contender: contender.family,
)
def test_a_contender_trains_as_many_steps_as_it_is_told(
    contender: Contender, work: Work, tmp_path: Path
) -> None:
    if contender.family == TRL:
        pytest.importorskip("trl", reason="needs trl==1.16.0")
    process = Process(work, contender, tmp_path / "place")
    try:
        process.get_ready(time.monotonic() + 300)
        steps = process.steps(1, time.monotonic() + 60) + process.steps(2, time.monotonic() + 60)
    finally:
        process.stop()
    assert len(steps) == 3
    for step in steps:
        assert step["seconds"] > 0
        assert 64 <= step["tokens"] <= 160
        assert 0 < step["supervised"] < step["tokens"]
    if contender.family != CEILING:
        assert process.facts["preparation_s"] > 0
        assert steps[0]["first_step_s"] > steps[0]["seconds"]
        assert 5.0 < steps[0]["loss"] < 7.0  # about ln 384: the mean over supervised tokens


def test_a_contender_that_fails_says_why(work: Work, tmp_path: Path) -> None:
    from dataclasses import replace

    process = Process(replace(work, data="nowhere"), Contender(PADDED, "padded"), tmp_path / "x")
    with pytest.raises(ContenderFailed, match="nowhere"):
        process.get_ready(time.monotonic() + 300)
    process.stop()
