"""Tiny models whose answers differ: at their own weights, all prompts have much the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tiny import SEQ2SEQ, make_model

LENGTHS = (3, 17, 5, 1, 9, 30, 4)


@pytest.fixture
def strong(tmp_path: Path) -> Callable[..., tuple[Any, Any]]:
    """(model, tokenizer) of an architecture, its matrices `strength` times as large."""

    def make(architecture: str = "llama", strength: float = 8, **changes: Any) -> tuple[Any, Any]:
        directory = make_model(tmp_path / architecture, architecture, **changes)
        kind: Any = AutoModelForSeq2SeqLM if architecture in SEQ2SEQ else AutoModelForCausalLM
        model = kind.from_pretrained(directory, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 2:
                    parameter.mul_(strength)
        return model.eval(), AutoTokenizer.from_pretrained(directory)

    return make


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def model(strong: Callable[..., tuple[Any, Any]]) -> Any:
    return strong(strength=10)[0]


@pytest.fixture
def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(4, 380, (n,), generator=generator).tolist() for n in LENGTHS]
