"""Counting of FLOPs, tokens and time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from det_files import throughput
from det_files.losses import IGNORED
from det_files.throughput import ModelShape, ThroughputMeter, model_shape, peak_of
from tiny import ARCHITECTURES

CPU = torch.device("cpu")
SHAPE = ModelShape(parameters=1000, trainable=1000, layers=2, hidden=8)


def one_rank(mine: torch.Tensor) -> torch.Tensor:
    return mine


def micro_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows of 3 and 5 tokens; 1 and 2 of them are supervised, position 0 counts nothing."""
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    labels = torch.full((2, 5), IGNORED)
    labels[0, 2], labels[1, 3:], labels[1, 0] = 7, 7, 7
    return mask, labels


def test_flops_are_palms() -> None:
    assert SHAPE.flops_per_token(10.0) == 6 * 1000 + 12 * 2 * 8 * 10
    frozen = ModelShape(parameters=1000, trainable=10, layers=2, hidden=8)
    assert frozen.flops_per_token(10.0) == 4 * 1000 + 2 * 10 + 12 * 2 * 8 * 10


@pytest.mark.parametrize("tied", [False, True])
def test_an_embedding_table_counts_only_where_it_is_multiplied_with(tied: bool) -> None:
    config = AutoConfig.for_model("llama", **ARCHITECTURES["llama"], tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_config(config)
    shape = model_shape(model)
    matrices = sum(p.numel() for p in model.parameters())
    if not tied:
        matrices -= model.get_input_embeddings().weight.numel()
    assert (shape.parameters, shape.trainable) == (matrices, matrices)
    assert (shape.layers, shape.hidden) == (2, 32)


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
    meter = ThroughputMeter(CPU, SHAPE)
    meter.count(*micro_batch())
    meter.count(*micro_batch())
    time.sleep(0.05)

    def two_ranks(mine: torch.Tensor) -> torch.Tensor:
        other = mine.clone()
        other[0, 3] *= 2
        return torch.cat([mine, other])

    row = meter.row(two_ranks)
    # 32 tokens and 12 supervised ones on both ranks, in one and the same time.
    assert row["tokens_per_second"] / row["supervised_tokens_per_second"] == pytest.approx(32 / 12)
    seconds = 32 / row["tokens_per_second"]
    assert 0.05 <= seconds < 2
    flops = SHAPE.flops_per_token(32 / 8) * 32
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
