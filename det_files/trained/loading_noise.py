"""What libraries say while a model loads and nobody can act upon, left out."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# torchao: kernels for other GPUs, which peft looks for; torch: torchao's own enumerations;
# bitsandbytes: a kernel of the hub, for which there is one of its own.
_LOGGERS = ("torchao", "torch.utils._pytree", "bitsandbytes.backends.cpu.ops")
_WARNINGS = ("`is_gradient_checkpointing` is deprecated",)  # peft asks for it


@contextmanager
def without_loading_noise() -> Iterator[None]:
    """In the block, known warnings of libraries are left out, and bars where none is to be seen."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        if not sys.stderr.isatty():
            transformers_logging.disable_progress_bar()
        with warnings.catch_warnings():
            for message in _WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
