"""What virtual tokens are made of, in checkpoints: saved, resumed and continued.

    <checkpoint>/adapter_model.safetensors     the prompt, for peft
                 prompt_encoder.safetensors    what made it, for training to go on

peft saves a finished prompt, and refuses to train one that was loaded; of p-tuning it leaves out
the network. It also computes the prompt on the rank that saves, where ZeRO-3 holds a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

ENCODER_FILE = "prompt_encoder.safetensors"
_PREFIX = "prompt_encoder.{}."


def has_prompt(model: Any) -> bool:
    """Whether virtual tokens stand before the rows of this model."""
    return hasattr(model, "prompt_encoder") and len(model.prompt_encoder) > 0


@contextmanager
def saving_prompt(
    model: Any, directory: Path, state: Mapping[str, torch.Tensor] | None
) -> Iterator[None]:
    """Lets peft save the prompt of `state` within, and puts what made it beside.

    Args:
        model: a peft model with a prompt.
        directory: of the checkpoint; made within.
        state: the gathered parameters of the model; None where each rank has them all.
    """
    from safetensors.torch import save_file

    prefix = _PREFIX.format(model.active_adapter)
    found = {
        name.removeprefix(prefix): tensor.detach().cpu().contiguous()
        for name, tensor in (model.state_dict() if state is None else state).items()
        if name.startswith(prefix)
    }
    encoder = _rebuilt(model, found)

    def prompt(adapter_name: str) -> torch.Tensor:
        # A prefix has one set of tokens for both halves of an encoder-decoder.
        tokens = torch.arange(len(found["embedding.weight"]))[None]
        with torch.no_grad():
            return torch.as_tensor(encoder(tokens)[0])

    model.get_prompt_embedding_to_save = prompt
    try:
        yield
    finally:
        del model.get_prompt_embedding_to_save
    save_file(found, directory / ENCODER_FILE)


def _rebuilt(model: Any, state: Mapping[str, torch.Tensor]) -> Any:
    """The prompt's encoder with these parameters, on the CPU; no random number is drawn."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    config = model.active_peft_config
    kind: Any = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    words = [model.word_embeddings] if config.peft_type == "PROMPT_TUNING" else []
    with torch.device("meta"):
        encoder: nn.Module = kind(config, *words)
    encoder.load_state_dict(dict(state), assign=True)
    return encoder


def load_prompt(model: Any, directory: Path) -> None:
    """Sets a peft model's virtual tokens to those of a checkpoint, so that training can go on.

    `directory` may be a hub id, too.

    Raises:
        FileNotFoundError: it has neither the encoder nor a prompt that needs none.
        RuntimeError: its shapes are not the model's.
    """
    from peft import load_peft_weights
    from safetensors.torch import load_file

    encoder = model.prompt_encoder[model.active_adapter]
    if (directory / ENCODER_FILE).is_file():
        state = load_file(directory / ENCODER_FILE)
    elif model.active_peft_config.peft_type == "P_TUNING":
        raise FileNotFoundError(f"no {ENCODER_FILE} beside it: the prompt alone is not enough")
    else:
        state = {"embedding.weight": load_peft_weights(str(directory))["prompt_embeddings"]}
    encoder.load_state_dict(state)
