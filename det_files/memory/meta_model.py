"""A run's model on the meta device: its class, its tuning method, no bytes of weights."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from det_files.args import RunArgs
from det_files.models import (
    CAUSAL,
    PREFERENCE,
    REWARD,
    auto_class,
    explained,
    load_tokenizer,
    refuse_encoder_decoder,
)
from det_files.vocabulary import fit_vocabulary

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

_VOCABULARY_WHERE = "hyperparameters.model_arguments.tokenizer_name"


@contextmanager
def quietly() -> Iterator[None]:
    """Without what libraries say about models on meta: nothing is trained here."""
    import transformers

    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(level)


def _kind(args: RunArgs) -> str:
    if args.preference is not None and args.preference.method == "reward":
        return REWARD
    return CAUSAL if args.facts.kind == PREFERENCE else args.facts.kind


def build_on_meta(args: RunArgs, config: PretrainedConfig) -> PreTrainedModel:
    import torch

    kind = _kind(args)
    refuse_encoder_decoder(config, args.model, kind)
    if kind == REWARD:
        config.num_labels = 1
    asked = args.model.attn_implementation or ""
    with torch.device("meta"), explained(args.model):
        model = auto_class(kind).from_config(
            config,
            dtype=getattr(torch, args.load_dtype),
            attn_implementation="eager" if asked == "eager" else None,
            trust_remote_code=args.model.trust_remote_code,
        )
        if args.model.tokenizer_name is not None:
            tokens = len(load_tokenizer(args.model))
            fit_vocabulary(model, tokens, _VOCABULARY_WHERE, extended=True)
    has_files = args.model.model_name_or_path is not None
    if has_files and getattr(model.config, "scale_decoder_outputs", True) is False:
        # T5 1.1 and FLAN-T5: transformers ties all of the family, and unties those whose files have
        # an output layer of its own. Of the configuration this alone is left to tell.
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight))
    model.config.use_cache = False
    return model


def tune_on_meta(model: PreTrainedModel, args: RunArgs) -> nn.Module:
    import torch

    from det_files.tuning.methods import apply_tuning, cast_trained

    # Where a prompt begins changes nothing here, and an adapter is as large as a new one of its
    # settings, which are read from its directory.
    tuning = dataclasses.replace(args.tuning, init="random", init_text=None)
    with torch.device("meta"):
        if tuning.adapter is not None:
            tuned = _adapted(model, tuning.adapter, args.float32_adapters)
        else:  # the tokenizer is asked for texts alone
            tuned = apply_tuning(model, tuning, None, 0, args.float32_adapters)  # type: ignore[arg-type]
    if not args.float32_adapters:  # peft, which casts them to their layer's dtype, leaves out meta
        cast_trained(tuned, getattr(torch, args.load_dtype))
    return tuned


def _adapted(model: PreTrainedModel, name: str, float32: bool) -> nn.Module:
    """The model with an adapter's settings, without its weights."""
    import peft

    from det_files.tuning.adapters import read_config

    config = read_config(name)
    config.inference_mode = False
    return peft.get_peft_model(model, config, autocast_adapter_dtype=float32)


def quantized_weights(model: PreTrainedModel) -> set[int]:
    """Identities of the weights that `from_pretrained` puts in 4 bits (replace_with_bnb_linear)."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    skipped = get_keys_to_not_convert(model)
    return {
        id(module.weight)
        for name, module in model.named_modules()
        if (type(module) is nn.Linear or isinstance(module, Conv1D))
        and should_convert_module(name, skipped)
    }
