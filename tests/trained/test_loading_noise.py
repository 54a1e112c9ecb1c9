"""What libraries say of themselves is left out while a model loads, and only then."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest
from export_checkpoints import Adapters
from transformers.utils import logging as transformers_logging

from conftest import rank_environment
from det_files.trained.loading_noise import without_loading_noise

LOAD = """
import sys; from pathlib import Path
from det_files.trained.checkpoint import open_checkpoint
from det_files.trained.model import load_trained
load_trained(open_checkpoint(Path(sys.argv[1])))
"""


def test_an_adapter_loads_without_a_word(adapters: Adapters) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(adapters("lora"))],
        env=rank_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    # Of the tokens of small models transformers tells at each load.
    said = [line for line in done.stderr.splitlines() if "PAD/BOS/EOS" not in line]
    assert (said, done.stdout) == ([], "")


def test_all_is_as_it_was_behind_it() -> None:
    logger = logging.getLogger("torchao")
    before = logger.level, transformers_logging.is_progress_bar_enabled()
    with pytest.raises(KeyError), without_loading_noise():
        assert not logger.isEnabledFor(logging.WARNING)
        raise KeyError
    assert (logger.level, transformers_logging.is_progress_bar_enabled()) == before
    with pytest.warns(FutureWarning, match="is deprecated"):
        warnings.warn("`is_gradient_checkpointing` is deprecated", FutureWarning, stacklevel=1)


def test_other_warnings_are_heard() -> None:
    with pytest.warns(UserWarning, match="a fault"), without_loading_noise():
        warnings.warn("a fault", UserWarning, stacklevel=1)
