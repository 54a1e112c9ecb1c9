"""Target modules: the layers that an adapter's argument names, or what there is instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from det_files.faults import Faults, did_you_mean
from det_files.quantization import quantized_modules
from det_files.tuning.arguments import SECTION

if TYPE_CHECKING:
    import torch.nn


def named_targets(given: str | list[str]) -> str | list[str]:
    """What peft takes: plain names, with commas or alone, would be regular expressions there."""
    if (
        isinstance(given, str)
        and given != "all-linear"
        and re.fullmatch(r"\w+(\s*,\s*\w+)*", given)
    ):
        return re.split(r"\s*,\s*", given)
    return given


def check_targets(model: torch.nn.Module, targets: str | list[str]) -> None:
    """Raises where one of several names matches nothing, which peft passes over.

    Raises:
        ConfigError: with every such name, and the layers there are.
    """
    there = linear_layer_names(model)
    faults = Faults()
    for target in targets if isinstance(targets, list) else []:
        if not _matches(model, target):
            faults.add(
                f"{SECTION}.target_modules",
                f"{target} matches no layer of this model; linear layers are: {', '.join(there)}"
                f"{did_you_mean(target, there)}",
            )
    faults.raise_if_any()


def check_whole_modules(model: torch.nn.Module, names: list[str]) -> None:
    """Raises where one of `modules_to_save` is none of the model's, likewise, or in 4 bits."""
    parts = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules() if name}
    in_4_bits = {name.rsplit(".", 1)[-1] for name in quantized_modules(model)}
    faults = Faults()
    for name in names:
        where = f"{SECTION}.modules_to_save"
        if not _named(model, name):
            hint = did_you_mean(name, sorted(parts))
            faults.add(where, f"{name} is no module of this model{hint}")
        elif name.rsplit(".", 1)[-1] in in_4_bits:
            reason = "has weights in 4 bits (model_arguments.quantization), which cannot be trained"
            faults.add(where, f"{name} {reason}; target_modules may name it")
        elif tables := shared_tables(model, name):
            # peft trains a copy under each name; the model goes on with some of them, and what is
            # saved as one table would be another on loading.
            faults.add(
                where,
                f"{name} is one table that the model has as {', '.join(tables)}, and its copy "
                "would be trained under one name alone; use method: full",
            )
    faults.raise_if_any()


def shared_tables(model: torch.nn.Module, name: str) -> list[str]:
    """The names of the embeddings that share a table of modules of this name, where several do."""
    from torch import nn

    tables = {id(parameter) for module in _named(model, name) for parameter in module.parameters()}
    found = [
        full_name
        for full_name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Embedding) and id(module.weight) in tables
    ]
    by_table = {id(model.get_submodule(full_name).weight) for full_name in found}
    return found if len(found) > len(by_table) else []


def _named(model: torch.nn.Module, name: str) -> list[torch.nn.Module]:
    """The modules of this name, or with it as the last part of theirs; some have several names."""
    return [
        module
        for full_name, module in model.named_modules(remove_duplicate=False)
        if full_name == name or full_name.endswith(f".{name}")
    ]


def _matches(model: torch.nn.Module, target: str) -> bool:
    return any(name == target or name.endswith(f".{target}") for name, _ in model.named_modules())


def linear_layer_names(model: torch.nn.Module) -> list[str]:
    """The last parts of the names of all linear layers, e.g. ["down_proj", "q_proj"]."""
    kinds = ("Linear", "Conv1D", "Linear4bit")
    return sorted(
        {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if type(module).__name__ in kinds
        }
    )
