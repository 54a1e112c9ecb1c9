"""The layers of a model on the meta device, traced as the run trains them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from det_files.args import RunArgs
from det_files.memory.shape import Layer, Lengths, Line, Stack, Trace
from det_files.tuning.arguments import BEFORE_ROWS

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from det_files.memory.tracing import RowBytes

# Bytes of other numbers of rows lie on the line through one row's and so many rows'.
_MANY_ROWS = 16


def trace_layers(
    args: RunArgs,
    tuned: nn.Module,
    model: PreTrainedModel,
    lengths: Lengths,
    device: str,
    notes: list[str],
) -> tuple[Trace, Trace]:
    """(rows without padding, rows with it): their layers are cut from the model, in place."""
    import torch

    holders = _stack_holders(model)
    counts = [len(holder._modules[name]) for holder, name in holders]  # type: ignore[arg-type]
    for holder, name in holders:
        layers: Any = holder._modules[name]
        holder._modules[name] = torch.nn.ModuleList(layers[:2])
    model.train()
    try:
        one, few, many = (
            _trace(args, tuned, model, holders, lengths, device, rows, padded)
            for rows, padded in ((1, False), (1, True), (_MANY_ROWS, True))
        )
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        notes.append(f"activations could not be traced and are not counted: {words}")
        return Trace(), Trace()
    # Rows end to end are one long row: nothing is constant. Of rows side by side the little that is
    # (no mask, here) is counted for each.
    return _fit((0, None), (1, one), counts), _fit((1, few), (_MANY_ROWS, many), counts)


def _fit(
    first: tuple[int, RowBytes | None], second: tuple[int, RowBytes], counts: list[int]
) -> Trace:
    """The lines through what was traced of two numbers of rows; None is nothing, of no rows."""

    def line(read: Callable[[RowBytes], int]) -> Line:
        ends = [(rows, float(read(found)) if found else 0.0) for rows, found in (first, second)]
        return Line.through(*ends)

    stacks = []
    for number, count in enumerate(counts):
        parts = {
            field.name: line(lambda row, n=number, f=field.name: getattr(row.layers[n], f))  # type: ignore[misc]
            for field in dataclasses.fields(Layer)
        }
        stacks.append(Stack(count, Layer(**parts)))
    return Trace(tuple(stacks), line(lambda row: row.outside))


def _stack_holders(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """(module, attribute) of each list of equal layers that lies in no other list."""
    from torch import nn

    found: list[tuple[nn.Module, str]] = []
    inside: set[int] = set()
    for module in model.modules():
        for name, child in module.named_children():
            if not isinstance(child, nn.ModuleList) or id(child) in inside:
                continue
            inside |= {id(part) for part in child.modules()}
            if len(child) and len({type(layer) for layer in child}) == 1:
                found.append((module, name))
    return found


def _trace(
    args: RunArgs,
    tuned: nn.Module,
    model: PreTrainedModel,
    holders: list[tuple[nn.Module, str]],
    lengths: Lengths,
    device: str,
    rows: int,
    padded: bool,
) -> RowBytes:
    import torch

    from det_files.memory.tracing import trace_rows

    stacks: list[Any] = [holder._modules[name] for holder, name in holders]
    row, target = lengths.row, lengths.target
    inputs: dict[str, torch.Tensor] = {}
    with torch.device("meta"):
        if args.tuning.method in BEFORE_ROWS:
            row += args.tuning.num_virtual_tokens
            width = model.get_input_embeddings().embedding_dim
            inputs["inputs_embeds"] = torch.empty(
                rows, row, width, dtype=model.dtype, requires_grad=True
            )
        else:
            inputs["input_ids"] = torch.zeros(rows, row, dtype=torch.long)
        if padded or model.config.is_encoder_decoder:
            inputs["attention_mask"] = torch.ones(rows, row, dtype=torch.long)
        if target:
            inputs["decoder_input_ids"] = torch.zeros(rows, target, dtype=torch.long)
    base = model.base_model

    def run() -> torch.Tensor:
        return base(**inputs)[0]

    return trace_rows(run, stacks, list(tuned.parameters()), _autocast(args), padded, device)


def _autocast(args: RunArgs) -> torch.dtype | None:
    """Without DeepSpeed, accelerate computes in `dtype` by autocast; DeepSpeed casts weights."""
    import torch

    if args.deepspeed is not None or args.model.dtype == "float32":
        return None
    return getattr(torch, args.model.dtype)  # type: ignore[no-any-return]
