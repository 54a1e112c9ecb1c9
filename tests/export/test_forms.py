"""What a checkpoint may become, and why not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from export_checkpoints import Adapters, as_checkpoint

from det_files.export.forms import find_form_faults
from det_files.faults import Faults
from det_files.trained.checkpoint import open_checkpoint


def form_fault(checkpoint: Path, form: str) -> str:
    faults = Faults()
    find_form_faults(open_checkpoint(checkpoint), form, faults)
    return "; ".join(map(str, faults.found))


@pytest.mark.parametrize(
    ("method", "form", "said"),
    [
        ("lora", "hf", "lora trained an adapter.*--to merged or --to adapter"),
        ("prompt", "merged", "prompt stands before the text.*--to adapter"),
        ("p_tuning", "merged", "--to adapter"),
        ("prefix", "merged", "--to adapter"),
        ("prefix", "gguf", "--to adapter"),
    ],
)
def test_a_form_that_cannot_be_names_the_one_that_can(
    adapters: Adapters, method: str, form: str, said: str
) -> None:
    fault = form_fault(adapters(method), form)
    assert re.search(said, fault), fault
    assert "\n" not in fault


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_a_whole_model_has_no_adapter(tiny_model: Path, tmp_path: Path, form: str) -> None:
    whole = as_checkpoint(Path(shutil.copytree(tiny_model, tmp_path / "whole")))
    assert form_fault(whole, form).endswith("say --to hf")
