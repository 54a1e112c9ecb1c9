"""Both models of a checkpoint are asked in turn, with as few loads as can be."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from export_checkpoints import Adapters
from transformers import AutoModelForCausalLM

from det_files.trained import pair as pair_module
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import BASE, TUNED
from det_files.trained.pair import Pair

IDS = torch.tensor([[4, 9, 30, 7, 5]])


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is loaded, in order; loaded as ever."""
    made: list[str] = []
    for which, name in ((BASE, "load_base"), (TUNED, "load_trained")):
        real = getattr(pair_module, name)
        spy = lambda *given, real=real, which=which: made.append(which) or real(*given)  # noqa: E731
        monkeypatch.setattr(pair_module, name, spy)
    return made


def logits(pair: Pair) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return pair.each(lambda _, model: model(input_ids=IDS).logits)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_base_is_the_model_that_training_started_from(
    adapters: Adapters, tiny_model: Path, loads: list[str], method: str
) -> None:
    pair = Pair(open_checkpoint(adapters(method)))
    assert loads == []
    first, second = logits(pair), logits(pair)
    started = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for found in (first, second):
        torch.testing.assert_close(found[BASE], started(input_ids=IDS).logits.detach())
        assert not torch.allclose(found[TUNED], found[BASE])
    # Of a whole model, the one at hand is asked first.
    assert loads == ([TUNED] if method == "lora" else [BASE, TUNED, BASE])


def test_of_two_whole_models_one_is_in_memory(
    adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[torch.nn.Module]] = []
    for name in ("load_base", "load_trained"):
        real = getattr(pair_module, name)

        def load(*given: Any, real: Any = real) -> Any:
            assert [model for model in held if model() is not None] == []
            return real(*given)

        monkeypatch.setattr(pair_module, name, load)
    pair = Pair(open_checkpoint(adapters("full")))
    for _ in range(2):
        pair.each(lambda _, model: held.append(weakref.ref(model)))
    assert len(held) == 4


@pytest.mark.parametrize("names", [[BASE, TUNED], [TUNED, BASE], [BASE]])
def test_what_is_made_comes_in_the_order_of_the_names(adapters: Adapters, names: list[str]) -> None:
    pair = Pair(open_checkpoint(adapters("full")))
    pair.each(lambda which, _: which, [TUNED])  # at hand from here on
    assert list(pair.each(lambda which, _: which, names).items()) == [(n, n) for n in names]


def test_weights_are_let_go(adapters: Adapters) -> None:
    pair = Pair(open_checkpoint(adapters("lora")))
    logits(pair)
    pair.release()
    gc.collect()
    assert not any(
        type(thing).__name__.startswith("PeftModel")
        for thing in gc.get_objects()
        if isinstance(thing, torch.nn.Module) and getattr(thing, "training", True) is False
    )
