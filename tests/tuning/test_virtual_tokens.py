"""Virtual tokens take positions of a model from an example: as many as there are."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from det_files.models import CAUSAL, SEQ2SEQ
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning
from det_files.tuning.prompt_state import saving_prompt
from det_files.tuning.virtual_tokens import reserved_positions


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
