"""Adapters on disk: what an earlier run has saved, put on its base model again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault
from det_files.tuning.arguments import SECTION
from det_files.tuning.prompt_state import load_prompt

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

ADAPTER_FILE = "adapter_config.json"
# peft's names of the methods.
_TYPES = {
    "lora": "LORA",
    "dora": "LORA",
    "ia3": "IA3",
    "prompt": "PROMPT_TUNING",
    "p_tuning": "P_TUNING",
    "prefix": "PREFIX_TUNING",
}


def continue_adapter(
    model: PreTrainedModel, name: str, method: str, float32_adapters: bool
) -> PeftModel:
    """The model with an adapter of an earlier run, to be trained on.

    Raises:
        ConfigError: see `load_adapter`; it is of another method.
    """
    config = read_config(name)
    found = method_of(config)
    if found != method:
        reason = f"{name} was made with method: {found or config.peft_type}, and not {method}"
        raise ConfigError(Fault(f"{SECTION}.adapter", reason))
    if not config.is_prompt_learning:
        return load_adapter(model, name, trainable=True, float32_adapters=float32_adapters)
    # peft trains no prompt that it has loaded: a new one is made, and set.
    import peft

    with _explained(model, name, config):
        config.inference_mode = False
        tuned = peft.get_peft_model(model, config)
        load_prompt(tuned, Path(name))
    return tuned


def load_adapter(
    model: PreTrainedModel, name: str, trainable: bool = False, float32_adapters: bool = False
) -> PeftModel:
    """The model with the adapter of a directory or hub id.

    Under another base model than its own it says so: a warning where the names differ by more
    than directories in front (a model may have moved), a fault where the shapes do.

    Raises:
        ConfigError: there is no adapter; it does not fit the model.
    """
    import peft

    with _explained(model, name, read_config(name)):
        return peft.PeftModel.from_pretrained(
            model, name, is_trainable=trainable, autocast_adapter_dtype=float32_adapters
        )


@contextmanager
def _explained(model: PreTrainedModel, name: str, config: Any) -> Iterator[None]:
    """Says under which base model an adapter is put, where that is not its own."""
    own, base = config.base_model_name_or_path, model.config.name_or_path
    # A path that was relative to where the run was started is the end of the one from here.
    if own and base and Path(base).parts[-len(Path(own).parts) :] != Path(own).parts:
        logger.warning("adapter %s was trained on %s, and is put on %s", name, own, base)
    try:
        width = model.get_input_embeddings().embedding_dim
        if method_of(config) in ("prompt", "p_tuning") and config.token_dim != width:
            raise ValueError(f"prompts of width {config.token_dim}, embeddings of {width}")
        if method_of(config) == "prefix":
            _check_prefix(model, config)
        yield
    except (RuntimeError, ValueError, KeyError, FileNotFoundError) as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        reason = f"{name} does not fit {base}: it was trained on {own} ({lines[-1].strip()})"
        raise ConfigError(Fault(f"{SECTION}.adapter", reason)) from error


def _check_prefix(model: PreTrainedModel, config: Any) -> None:
    """Raises a ValueError where keys and values of a prefix have another shape than the model's.

    peft notices a sum that differs, and no layer that has none.
    """
    import peft
    from peft.utils.other import _prepare_prompt_learning_config

    wanted = peft.PrefixTuningConfig(num_virtual_tokens=config.num_virtual_tokens)
    _prepare_prompt_learning_config(wanted, model.config)  # as peft does for a new one
    for name in ("num_layers", "num_attention_heads", "token_dim"):
        own, other = getattr(config, name), getattr(wanted, name)
        if own != other:
            raise ValueError(f"a prefix of {name} {own}, a model of {other}")


def method_of(config: PeftConfig | Any) -> str | None:
    """The method that makes such adapters; None for those that are not ours."""
    kind = getattr(config.peft_type, "value", config.peft_type)
    if kind == "LORA":
        return "dora" if config.use_dora else "lora"
    return next((method for method, name in _TYPES.items() if name == kind), None)


def read_config(name: str) -> PeftConfig:
    """The configuration of an adapter, without its weights.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    import peft

    try:
        return peft.PeftConfig.from_pretrained(name)
    except (OSError, ValueError, TypeError, KeyError) as error:
        if Path(name).is_dir() and (Path(name) / ADAPTER_FILE).is_file():
            reason = f"{name}/{ADAPTER_FILE} cannot be read: {error}"
        else:
            reason = f"{name} is no directory with {ADAPTER_FILE}, and was not had from the hub"
        raise ConfigError(Fault(f"{SECTION}.adapter", reason)) from error
