"""The fields of transformers' TrainingArguments, read from its source without importing it.

Importing it takes torch and some ten seconds; validating a file must take less than six. The
installed source is parsed instead, so names, types and choices are always the installed version's.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from det_files.models import CAUSAL, SEQ2SEQ
from det_files.schema import Field

_BASIC = {"bool", "int", "float", "str", "list", "dict"}
# Fields whose annotation is a plain string although only some words are allowed.
_ENUM_OF_FIELD = {
    "eval_strategy": "IntervalStrategy",
    "logging_strategy": "IntervalStrategy",
    "save_strategy": "SaveStrategy",
    "lr_scheduler_type": "SchedulerType",
    "optim": "OptimizerNames",
    "hub_strategy": "HubStrategy",
}
_MINIMUM = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 0,
    "warmup_steps": 0,
    "weight_decay": 0,
    "save_total_limit": 1,
    "max_steps": -1,
    "ddp_timeout": 1,
    "seed": 0,
    "data_seed": 0,
    "generation_max_length": 1,
    "generation_num_beams": 1,
}
GENERATING = ("predict_with_generate", "generation_max_length", "generation_num_beams")
# Fields of ours among those of transformers, whose TrainingArguments do not get them.
OWN = {"oom_backoff": Field("oom_backoff", frozenset({"bool"}))}
_EXCLUSIVE_MINIMUM = {"num_train_epochs": 0, "logging_steps": 0, "eval_steps": 0, "save_steps": 0}


def installed_source(package: str, module: str) -> ast.Module:
    """The source of an installed package's module ("trainer/dpo_config"), parsed, not imported.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed: run make setup")
    path = Path(found.submodule_search_locations[0]) / f"{module}.py"
    return ast.parse(path.read_text(encoding="utf-8"))


def transformers_version() -> str:
    """The installed version, from its metadata (no import)."""
    return importlib.metadata.version("transformers")


@functools.cache
def training_fields(kind: str = CAUSAL) -> dict[str, Field]:
    """Name → Field for every field of the installed TrainingArguments, and our own.

    For encoder-decoders, those by which Seq2SeqTrainingArguments lets an evaluation generate, too.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        RuntimeError: the source has another shape than the dataclass that 5.x has.
    """
    tree = installed_source("transformers", "training_args")
    enums = _enum_values(tree)
    enums |= _enum_values(installed_source("transformers", "trainer_utils"))
    found = fields_of_class(tree, "TrainingArguments", enums)
    if kind == SEQ2SEQ:
        generating = installed_source("transformers", "training_args_seq2seq")
        more = fields_of_class(generating, "Seq2SeqTrainingArguments", enums)
        found |= {name: more[name] for name in GENERATING}
    if "learning_rate" not in found:
        raise RuntimeError(f"transformers {transformers_version()}: no fields in training_args.py")
    return found | OWN


def fields_of_class(
    tree: ast.Module, name: str, enums: Mapping[str, tuple[str, ...]] = MappingProxyType({})
) -> dict[str, Field]:
    """Name → Field for the annotated fields of a class's own body; `enums` have the choices."""
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    owner = next((node for node in classes if node.name == name), None)
    fields = (
        _field(statement.target.id, statement.annotation, enums)
        for statement in (owner.body if owner else [])
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    )
    return {field.name: field for field in fields}


def _field(name: str, annotation: ast.expr, enums: Mapping[str, tuple[str, ...]]) -> Field:
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    kinds = {n for n in _outer_names(annotation) if n in _BASIC} or {"any"}
    if any(isinstance(n, ast.Constant) and n.value is None for n in ast.walk(annotation)):
        kinds.add("none")
    enum = _ENUM_OF_FIELD.get(name) or next((n for n in names if n in enums), None)
    choices = enums.get(enum, ()) if enum and "list" not in kinds else ()
    return Field(
        name,
        frozenset(kinds | ({"str"} if choices else set())),
        choices,
        minimum=_MINIMUM.get(name),
        exclusive_minimum=_EXCLUSIVE_MINIMUM.get(name),
    )


def _outer_names(annotation: ast.expr) -> set[str]:
    """The names of a union's members; `list[str]` counts as list, not as str."""
    if isinstance(annotation, ast.BinOp):
        return _outer_names(annotation.left) | _outer_names(annotation.right)
    if isinstance(annotation, ast.Subscript):
        return _outer_names(annotation.value)
    return {annotation.id} if isinstance(annotation, ast.Name) else set()


def _enum_values(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id.endswith("Enum") for base in node.bases
        ):
            values[node.name] = tuple(
                str(s.value.value)
                for s in node.body
                if isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant)
            )
    return values
