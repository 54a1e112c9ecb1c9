"""Counting of FLOPs, tokens and time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from det_files import throughput
from det_files.data.tokenization import IGNORED
from det_files.throughput import ModelShape, ThroughputMeter, model_shape, peak_of
from tiny import ARCHITECTURES

CPU = torch.device("cpu")
SHAPE = ModelShape(
    parameters=1000, trainable=1000, head=300, head_trainable=300, layers=2, attention=8
)


def one_rank(mine: torch.Tensor) -> torch.Tensor:
    return mine


def micro_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows of 3 and 5 tokens; 1 and 2 of them are supervised, position 0 counts nothing."""
    labels = torch.full((2, 5), IGNORED)
    labels[0, 2], labels[1, 3:], labels[1, 0] = 7, 7, 7
    return torch.tensor([3, 5]), labels


def test_flops_are_palms_where_all_is_trained_and_supervised() -> None:
    # One row of 10 tokens: 6 a parameter and token, 12·L·A·S a token of which causality halves.
    assert SHAPE.flops(10, 10, 100) == 10 * (6 * 1300 + 12 * 2 * 8 * 10 / 2)
    # Two rows of 5 tokens attend to half as much.
    assert SHAPE.flops(10, 10, 50) == 10 * (6 * 1300 + 12 * 2 * 8 * 5 / 2)


def test_frozen_weights_and_unsupervised_tokens_cost_less() -> None:
    adapters = ModelShape(
        parameters=1000, trainable=10, head=300, head_trainable=0, layers=2, attention=8
    )
    assert adapters.flops(10, 4, 0) == 10 * (4 * 1000 + 2 * 10) + 4 * 4 * 300


@pytest.mark.parametrize("tied", [False, True])
def test_an_embedding_table_counts_only_where_it_is_multiplied_with(tied: bool) -> None:
    config = AutoConfig.for_model("llama", **ARCHITECTURES["llama"], tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_config(config)
    shape = model_shape(model)
    table = 384 * 32
    body = sum(p.numel() for p in model.parameters()) - table * (1 if tied else 2)
    assert shape == ModelShape(body, body, table, table, layers=2, attention=32)


def test_adapters_are_what_is_trained() -> None:
    import peft

    config = AutoConfig.for_model("qwen3", **ARCHITECTURES["qwen3"] | {"head_dim": 16})
    model = AutoModelForCausalLM.from_config(config)
    adapters = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    shape = model_shape(peft.get_peft_model(model, adapters))
    assert shape.trainable == 2 * (2 * 32 + 2 * 64)
    assert shape.head_trainable == 0
    assert shape.attention == 64  # four heads of 16, wider than the hidden size


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("Tesla V100-SXM2-16GB", 125e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),  # not an L4
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce RTX 3090", None),
    ],
)
def test_peaks_are_known_by_whole_words(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak


def test_a_row_sums_ranks_and_starts_a_new_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "peak_flops", lambda device: 1e6)
    began = time.perf_counter()
    meter = ThroughputMeter(CPU, SHAPE)
    meter.count(*micro_batch())
    meter.count(*micro_batch())
    time.sleep(0.05)

    def two_ranks(mine: torch.Tensor) -> torch.Tensor:
        other = mine.clone()
        other[0, 4] *= 2
        return torch.cat([mine, other])

    row = meter.row(two_ranks)
    # 32 tokens and 12 supervised ones on both ranks, in one and the same time.
    assert row["tokens_per_second"] / row["supervised_tokens_per_second"] == pytest.approx(32 / 12)
    seconds = 32 / row["tokens_per_second"]
    assert 0.05 <= seconds <= time.perf_counter() - began
    flops = SHAPE.flops(32, 12, 4 * (9 + 25))
    assert row["mfu"] == pytest.approx(flops / seconds / (2 * 1e6))
    own = throughput.peak_memory_bytes(CPU)
    assert row["peak_memory_bytes"] == pytest.approx(2 * own, rel=0.2)
    assert meter.row(one_rank)["tokens_per_second"] == 0.0  # nothing was trained on since


def test_no_utilisation_without_a_known_peak() -> None:
    meter = ThroughputMeter(CPU, SHAPE)
    meter.count(*micro_batch())
    assert set(meter.row(one_rank)) == {
        "tokens_per_second",
        "supervised_tokens_per_second",
        "peak_memory_bytes",
    }


def test_pauses_are_left_out_even_when_nested() -> None:
    meter = ThroughputMeter(CPU, SHAPE)
    meter.count(*micro_batch())
    began = time.perf_counter()
    time.sleep(0.05)
    with meter.paused(), meter.paused():  # evaluate() of several datasets calls itself
        time.sleep(0.2)
    rate = meter.row(one_rank)["tokens_per_second"]
    elapsed = time.perf_counter() - began
    assert 0.05 <= 8 / rate <= elapsed - 0.19


def test_memory_is_this_process_resident_set() -> None:
    status = Path("/proc/self/status").read_text()
    kib = int(next(x for x in status.splitlines() if x.startswith("VmHWM")).split()[1])
    assert throughput.peak_memory_bytes(CPU) == pytest.approx(kib * 1024, rel=0.1)
