"""How long a prompt may be, by what the model has positions for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from export_checkpoints import Adapters, as_checkpoint

from det_files.generation.engine import TransformersEngine, length_when_cut
from det_files.trained.checkpoint import open_checkpoint
from tiny import make_model


def engine(checkpoint: Path, which: str = "tuned") -> TransformersEngine:
    return TransformersEngine(open_checkpoint(checkpoint), which, None)


def test_virtual_tokens_take_positions_of_the_tuned_model_alone(adapters: Adapters) -> None:
    tuned, base = engine(adapters("prompt")), engine(adapters("prompt"), "base")
    virtual = tuned.trained.model.active_peft_config.num_virtual_tokens
    assert (tuned.longest_prompt, base.longest_prompt) == (256 - virtual, 256)
    assert tuned.positions == 256 - virtual


@pytest.mark.parametrize(("architecture", "longest"), [("t5", None), ("bart", 256)])
def test_an_encoder_has_positions_of_its_own(
    tmp_path: Path, architecture: str, longest: int | None
) -> None:
    sources = {"sources": [{"path": "pairs"}]}
    whole = as_checkpoint(make_model(tmp_path / "model", architecture), data_arguments=sources)
    found = engine(whole)
    assert found.longest_prompt == longest
    assert found.positions is None
    assert length_when_cut(found, 50) == longest


def test_a_prompt_is_cut_so_that_the_answer_has_room(adapters: Adapters) -> None:
    found = engine(adapters("lora"))
    assert length_when_cut(found, 6) == 251  # the last token needs no position
    assert length_when_cut(found, 10_000) == 128


@pytest.mark.parametrize(("wanted", "kept"), [(1, 99), (10, 90), (1000, 50)])
def test_where_the_last_token_has_a_position_less_is_kept(wanted: int, kept: int) -> None:
    engine: Any = SimpleNamespace(positions=100, longest_prompt=99)  # as of vLLM
    assert length_when_cut(engine, wanted) == kept
