"""Strict reading of mappings: known keys, right types, allowed values, every fault located.

A `Field` says what one key may hold. Fields come from our own dataclasses (`fields_of`) or from
the source of transformers' TrainingArguments (`training_fields`), so that both are checked alike.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from det_files.faults import Faults, did_you_mean
from det_files.hyperparameters import is_hyperparameter, representatives

# What a value may be, by name. "float" takes an int too; "int" takes 100.0 but not 1.5.
SCALARS = ("bool", "int", "float", "str", "list", "dict", "none", "any")


@dataclass(frozen=True)
class Field:
    """What one key may hold: `kinds` of SCALARS, and the allowed `choices` of a string."""

    name: str
    kinds: frozenset[str]
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    exclusive_minimum: float | None = None
    maximum: float | None = None

    def describe(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        names = {"none": "null", "str": "string", "list": "list", "dict": "mapping"}
        return " or ".join(sorted(names.get(kind, kind) for kind in self.kinds))


def fields_of(owner: type) -> dict[str, Field]:
    """The fields of one of our argument dataclasses, from its annotations and metadata.

    Metadata keys `choices`, `minimum`, `exclusive_minimum` and `maximum` bound the value.
    """
    hints = typing.get_type_hints(owner)
    found = {}
    for item in dataclasses.fields(owner):
        bounds = {
            key: item.metadata[key]
            for key in ("choices", "minimum", "exclusive_minimum", "maximum")
            if key in item.metadata
        }
        found[item.name] = Field(item.name, frozenset(_kinds(hints[item.name])), **bounds)
    return found


def _kinds(annotation: Any) -> Iterable[str]:
    if annotation is Any:
        return {"any"}
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {kind for part in typing.get_args(annotation) for kind in _kinds(part)}
    origin = typing.get_origin(annotation) or annotation
    if origin is type(None):
        return {"none"}
    if origin in (list, tuple):
        return {"list"}
    return {"dict"} if issubclass(origin, Mapping) else {origin.__name__}


def check_mapping(
    path: str, mapping: Mapping[str, Any], fields: Mapping[str, Field], faults: Faults
) -> dict[str, Any]:
    """Returns the mapping with its values in their field's type; notes every fault on the way.

    A Determined hyperparameter (`{type: log, …}`) is checked at its extremes and left as it is.
    """
    read: dict[str, Any] = {}
    for key, value in mapping.items():
        field = fields.get(key)
        if field is None:
            faults.unknown(path, str(key), fields)
            continue
        where = f"{path}.{key}"
        for suffix, candidate in representatives(value):
            checked = check_value(where + suffix, candidate, field, faults)
            read[key] = checked if not suffix else value
        if is_hyperparameter(value) and value["type"] in ("double", "log"):
            _check_takes_fractions(where, value["type"], field, faults)
    return read


def _check_takes_fractions(path: str, kind: str, field: Field, faults: Faults) -> None:
    # The ends of such a range may be whole numbers (4, 16); what is drawn between them is not.
    if not {"float", "any"} & field.kinds:
        hint = "; write type: int" if "int" in field.kinds else ""
        faults.add(path, f"expected {field.describe()}, and {kind} draws fractions{hint}")


def check_value(path: str, value: Any, field: Field, faults: Faults) -> Any:
    """Returns the value in the field's type, or notes why it is not one and returns it as it is."""
    matched, converted = _convert(value, field)
    if not matched:
        faults.add(path, f"expected {field.describe()}, got {show(value)}")
        return value
    if field.choices and isinstance(converted, str) and converted not in field.choices:
        hint = did_you_mean(converted, field.choices)
        faults.add(path, f"expected {field.describe()}, got {show(value)}{hint}")
    if isinstance(converted, int | float) and not isinstance(converted, bool):
        _check_bounds(path, converted, field, faults)
    return converted


def _check_bounds(path: str, number: float, field: Field, faults: Faults) -> None:
    if isinstance(number, float) and not math.isfinite(number):
        faults.add(path, f"expected a finite number, got {number}")
    if field.minimum is not None and number < field.minimum:
        faults.add(path, f"expected >= {field.minimum:g}, got {number}")
    if field.exclusive_minimum is not None and number <= field.exclusive_minimum:
        faults.add(path, f"expected > {field.exclusive_minimum:g}, got {number}")
    if field.maximum is not None and number > field.maximum:
        faults.add(path, f"expected <= {field.maximum:g}, got {number}")


def _convert(value: Any, field: Field) -> tuple[bool, Any]:
    kinds = field.kinds
    if "any" in kinds:
        return True, value
    if value is None:
        return "none" in kinds, None
    if isinstance(value, bool):
        # `eval_strategy: false` is what `no` became in YAML 1.1: it means the word.
        if value is False and "bool" not in kinds and "no" in field.choices:
            return True, "no"
        return "bool" in kinds, value
    if isinstance(value, int):
        if "int" in kinds:
            return True, value
        return "float" in kinds, float(value) if "float" in kinds else value
    if isinstance(value, float):
        if "float" in kinds:
            return True, value
        return "int" in kinds and value.is_integer(), int(value) if value.is_integer() else value
    if isinstance(value, str):
        return "str" in kinds, value
    if isinstance(value, Mapping):
        return "dict" in kinds, value
    return "list" in kinds and isinstance(value, list | tuple), value


def parse_flag(text: str, field: Field) -> Any:
    """The value of a command-line flag, which always arrives as text.

    Unparsable text is returned as it is, so that `check_value` can say what it should have been.
    """
    lowered = text.lower()
    if "bool" in field.kinds and lowered in ("true", "false"):
        return lowered == "true"
    if "none" in field.kinds and lowered in ("none", "null"):
        return None
    if {"int", "float"} & field.kinds:
        try:
            return int(text) if "int" in field.kinds else float(text)
        except ValueError:
            return text
    if {"dict", "list"} & field.kinds and text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def show(value: Any) -> str:
    """A value as a message shows it: its type where the type is the point, cut to 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
