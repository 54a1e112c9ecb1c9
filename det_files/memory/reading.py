"""read_shape: a run's model in numbers, by its configuration alone.

No weights are read, and nothing is downloaded but the configuration where it is not on disk.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from det_files.args import RunArgs
from det_files.data.arguments import BLOCKS, DataArguments
from det_files.memory.layers import trace_layers
from det_files.memory.meta_model import build_on_meta, quantized_weights, quietly, tune_on_meta
from det_files.memory.shape import (
    Head,
    Lengths,
    ModelShape,
    Parameter,
)
from det_files.models import (
    PREFERENCE,
    SEQ2SEQ,
    load_config,
)

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel


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
    with quietly():
        model = build_on_meta(args, config)
        quantized = quantized_weights(model) if args.model.quantization == "nf4" else set()
        tuned = tune_on_meta(model, args)
    parameters = _parameters(tuned, model, quantized)
    lengths = row_lengths(args.data, args.facts.kind, config)
    device = device or ("cpu" if args.training.get("use_cpu") else "cuda")
    notes: list[str] = []
    head = _head(args, model)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in tuned.buffers())
    largest = _largest_module(tuned)
    plain, padded = trace_layers(args, tuned, model, lengths, device, notes)
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
