"""Silence of the libraries: bars and advice that would stand among a notebook's outputs."""

from __future__ import annotations

import logging
import os
import warnings


def silence_libraries() -> None:
    """Turns off progress bars and warnings of the libraries that load and answer; errors stay."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore")  # before imports, of which some warn
    logging.disable(logging.WARNING)
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
