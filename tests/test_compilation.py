"""Compilation of the repeated layer: one graph for all lengths, and its time kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from test_trainer import trainer
from torch import nn
from torch._inductor.utils import fresh_cache

from det_files.compilation import (
    CompileClock,
    compile_layers,
    is_compiled,
    repeated_layers,
    uncompiled,
)
from det_files.faults import ConfigError
from tiny import ARCHITECTURES


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    with fresh_cache():  # nor by an earlier session, on disk
        yield
    torch._dynamo.reset()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "bloom", "gpt_neox"])
def test_the_repeated_layers_of_a_model_are_found(architecture: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(architecture, **ARCHITECTURES[architecture])
    layers = repeated_layers(AutoModelForCausalLM.from_config(config))
    assert layers is not None
    assert len(layers) == config.num_hidden_layers


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"model_arguments\.compile: Linear has no repeated layer"
    ):
        compile_layers(nn.Linear(2, 2))


def test_layers_run_as_they_were_written_for_a_while(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    for layer in repeated_layers(model) or ():
        layer.compile(backend="eager")
    frames = torch._dynamo.utils.counters["frames"]
    frames.clear()
    with uncompiled(model):
        assert not is_compiled(model)
        before = model(torch.tensor([[5, 6]])).logits
        assert not frames
    assert is_compiled(model)
    assert torch.equal(model(torch.tensor([[5, 6]])).logits, before)
    assert frames


def test_training_and_evaluation_never_recompile_for_lengths(
    tiny_model: Path, tmp_path: Path
) -> None:
    options = {"max_steps": 8, "per_device_train_batch_size": 3, "learning_rate": 1e-2}
    plain = trainer(tiny_model, tmp_path, "packed", **options)
    compiled = trainer(tiny_model, tmp_path, "packed", **options)
    names = list(compiled.model.state_dict())
    compile_layers(compiled.model)
    assert is_compiled(compiled.model)
    assert list(compiled.model.state_dict()) == names
    compiled = type(compiled)(compiled.model, compiled.args, layout=compiled._layout)
    counters = torch._dynamo.utils.counters
    counters.clear()
    for made in (plain, compiled):
        made.train()
        made.evaluate()
    losses = [
        [row[key] for row in made.state.log_history for key in ("loss", "eval_loss") if key in row]
        for made in (plain, compiled)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    # With gradients and without: two graphs, whatever the lengths.
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
    logged = [row for row in compiled.state.log_history if "loss" in row]
    assert logged[-1]["compile_seconds"] > 1
    assert logged[-1]["compile_seconds"] == logged[1]["compile_seconds"]
    assert "compile_seconds" not in plain.state.log_history[0]


def test_the_clock_pauses_what_it_is_given() -> None:
    entered = []

    @contextmanager
    def paused() -> Iterator[None]:
        yield
        entered.append(clock.seconds)

    class Layer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sin() * 2

    clock = CompileClock(paused)
    layer = Layer()
    layer.compile()
    layer(torch.randn(2, 3, requires_grad=True)).sum().backward()
    clock.close()
    assert len(entered) == 2  # forward and backward
    seconds = clock.seconds
    assert seconds > entered[-1] > entered[0] == 0
    torch._dynamo.reset()
    layer(torch.randn(2, 4))
    assert clock.seconds == seconds
