"""read_shape: a run's model by its configuration alone, built on the meta device as it is trained.

No weights are read, and nothing is downloaded but the configuration where it is not on disk.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from det_files.args import RunArgs
from det_files.data.arguments import BLOCKS, DataArguments
from det_files.memory.layers import trace_layers
from det_files.memory.shape import (
    Head,
    Lengths,
    ModelShape,
    Parameter,
)
from det_files.models import (
    CAUSAL,
    PREFERENCE,
    REWARD,
    SEQ2SEQ,
    auto_class,
    explained,
    load_config,
    load_tokenizer,
    refuse_encoder_decoder,
)
from det_files.vocabulary import fit_vocabulary

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel


_VOCABULARY_WHERE = "hyperparameters.model_arguments.tokenizer_name"


def read_shape(
    args: RunArgs, device: str | None = None, config: PretrainedConfig | None = None
) -> ModelShape:
    """The model of a run with its tuning method applied, in numbers.

    Args:
        args: its model, tuning and data arguments are read, and whether DeepSpeed trains it.
        device: cuda or cpu, which compute the loss in chunks of their own sizes; default: cuda,
            or cpu where the arguments say use_cpu.
        config: the model's configuration, where it is known already.

    Raises:
        ConfigError: the configuration cannot be read or reached; it is none of a model of this
            kind; the tuning method does not fit the model.
    """
    from det_files.attention import can_isolate_rows

    if config is None:
        config = load_config(args.model, local_only=not _hub_answers())
    config = copy.deepcopy(config)
    with _quietly():
        model = _build(args, config)
        quantized = _quantized_weights(model) if args.model.quantization == "nf4" else set()
        tuned = _tune(model, args)
    parameters = _parameters(tuned, model, quantized)
    lengths = row_lengths(args.data, args.facts.kind, config)
    device = device or ("cpu" if args.training.get("use_cpu") else "cuda")
    notes: list[str] = []
    head = _head(args, model)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in tuned.buffers())
    largest = _largest_module(tuned)
    plain, padded = trace_layers(args, tuned, model, lengths, notes)
    return ModelShape(
        name=args.model.source,
        model_type=str(config.model_type),
        parameters=parameters,
        buffer_bytes=buffers,
        hidden=int(getattr(config, "hidden_size", 0) or head.hidden),
        lengths=lengths,
        head=head,
        plain=plain,
        padded=padded,
        device=device,
        packs=args.tuning.takes_packed_rows and can_isolate_rows(model),
        largest_module=largest,
        notes=tuple(notes),
    )


def row_lengths(data: DataArguments, kind: str, config: PretrainedConfig | Any) -> Lengths:
    """The longest row that the data arguments let through, at the model's positions at most.

    A conversation has no such limit: it is counted as one input and one output.
    """
    positions = getattr(config, "max_position_embeddings", None)
    bound = positions if isinstance(positions, int) and positions > 0 else 2**31
    if kind != PREFERENCE and data.packing == BLOCKS:
        return Lengths(data.block_size, 0, data.block_size)
    pairs: list[tuple[int, int]] = []
    texts: list[tuple[int, int]] = []
    for source in data.settled_sources():
        inputs, outputs = source.max_input_tokens or 0, source.max_output_tokens or 0
        (texts if "text" in source.columns else pairs).append((inputs, outputs))
    if kind == SEQ2SEQ:
        longest = [max((pair[side] for pair in pairs), default=1) for side in (0, 1)]
        row, target = (min(length, bound) for length in longest)
        return Lengths(row, target, target)
    rows = [(min(inputs + outputs, bound), min(outputs, bound)) for inputs, outputs in pairs]
    if texts:  # all of a block is learned
        rows.append((min(data.block_size, bound), min(data.block_size, bound)))
    row, supervised = (max(side) for side in zip(*(rows or [(1, 1)]), strict=True))
    return Lengths(row, 0, supervised)


def _hub_answers() -> bool:
    """Whether the hub has an address here; where it has none, asking it takes half a minute."""
    import socket
    from urllib.parse import urlparse

    address = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.getaddrinfo(address.hostname, address.port or 443)
    except OSError:
        # A proxy knows addresses that this machine does not.
        return bool(os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"))
    return True


@contextmanager
def _quietly() -> Iterator[None]:
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


def _build(args: RunArgs, config: PretrainedConfig) -> PreTrainedModel:
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
    if getattr(model.config, "scale_decoder_outputs", True) is False:
        # T5 1.1 and FLAN-T5: transformers ties all of the family, and unties those whose files have
        # an output layer of its own. Of the configuration this alone is left to tell.
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight))
    model.config.use_cache = False
    return model


def _tune(model: PreTrainedModel, args: RunArgs) -> nn.Module:
    import torch

    from det_files.tuning.methods import apply_tuning

    # Where a prompt begins changes nothing here, and an adapter is as large as a new one of its
    # settings, which are read from its directory.
    tuning = dataclasses.replace(args.tuning, init="random", init_text=None)
    with torch.device("meta"):
        if tuning.adapter is not None:
            return _adapted(model, tuning.adapter, args.float32_adapters)
        # The tokenizer is asked for texts alone.
        return apply_tuning(model, tuning, None, 0, args.float32_adapters)  # type: ignore[arg-type]


def _adapted(model: PreTrainedModel, name: str, float32: bool) -> nn.Module:
    """The model with an adapter's settings, without its weights."""
    import peft

    from det_files.tuning.adapters import read_config

    config = read_config(name)
    config.inference_mode = False
    return peft.get_peft_model(model, config, autocast_adapter_dtype=float32)


def _quantized_weights(model: PreTrainedModel) -> set[int]:
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


def _parameters(
    tuned: nn.Module, model: PreTrainedModel, quantized: set[int]
) -> tuple[Parameter, ...]:
    tables = _tables(model)
    counts = Counter(
        (
            tuple(parameter.shape),
            parameter.requires_grad,
            id(parameter) in quantized,
            tables.get(id(parameter), "body"),
        )
        for parameter in tuned.parameters()
    )
    return tuple(
        Parameter(shape, count, trained, in_4_bits, part)
        for (shape, trained, in_4_bits, part), count in counts.items()
    )


def _tables(model: PreTrainedModel) -> dict[int, str]:
    """Identity of a table of tokens → head or embedding; a shared one is an embedding."""
    found = {}
    for part, owner in (
        ("head", model.get_output_embeddings()),
        ("embedding", model.get_input_embeddings()),
    ):
        for parameter in owner.parameters() if owner is not None else ():
            found[id(parameter)] = part
    return found


def _head(args: RunArgs, model: PreTrainedModel) -> Head:
    from det_files.architectures import architecture_of

    config, head = model.config, model.get_output_embeddings()
    table = model.get_input_embeddings().weight  # [V, H]
    trained_whole = any(
        name in ("lm_head", "embed_out", "output") for name in args.tuning.modules_to_save
    )
    known = architecture_of(config)
    preference = args.facts.kind == PREFERENCE
    weight = getattr(head, "weight", None)
    return Head(
        vocabulary=int(table.shape[0]) if head is not None else 1,
        hidden=int(table.shape[1]),
        chunked=known is not None and head is not None and not preference,
        whole=preference or bool(config.is_encoder_decoder),
        trained=head is not None and (args.tuning.method == "full" or trained_whole),
        tied=weight is table,
        capped=known is not None and known.scaling(config).cap is not None,
    )


def _largest_module(model: nn.Module) -> int:
    """Elements of the module with the most parameters of its own: gathered at once in stage 3."""
    return max(
        (
            sum(parameter.numel() for parameter in module.parameters(recurse=False))
            for module in model.modules()
        ),
        default=0,
    )
