"""TRL's configurations, which are TrainingArguments with a method's own beside them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.args import RunArgs
from det_files.preference.arguments import (
    METHODS,
    SECTION,
    PreferenceArguments,
    method_fields,
)
from det_files.training_arguments import make_training_arguments

if TYPE_CHECKING:
    from transformers import TrainingArguments


def make_preference_arguments(args: RunArgs, output_dir: Path, on_cpu: bool) -> TrainingArguments:
    """The method's configuration; with DeepSpeed it also prepares partitioned loading.

    Raises:
        ConfigError: transformers or TRL refuses the combination, in its own words.
    """
    assert args.preference is not None
    options = trl_options(args.preference, args.training) | dict(args.training)
    return make_training_arguments(
        options,
        args.deepspeed,
        output_dir,
        on_cpu,
        configuration=_configuration(args.preference.method),
        section=SECTION,
    )


def trl_options(preference: PreferenceArguments, training: Mapping[str, Any]) -> dict[str, Any]:
    """What TRL is given of a method's arguments, and what replaces its own defaults.

    Activations are kept unless training_arguments say otherwise, as in every other method; rows
    are cut by ours.
    """
    options = dict(preference.options)
    if not {"activation_checkpointing", "gradient_checkpointing"} & set(training):
        options["activation_checkpointing"] = False
    if "max_length" in method_fields(preference.method):
        options["max_length"] = None
    return options


def _configuration(method: str) -> type[TrainingArguments]:
    source = METHODS[method]
    if "experimental" in source.module:  # which TRL warns of, and asks to be silenced by this
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    module = importlib.import_module(f"trl.{source.module.replace('/', '.')}")
    return getattr(module, source.name)  # type: ignore[no-any-return]
