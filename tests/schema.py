"""Determined's published experiment schemas as a validator (their own keywords included)."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT7

BASE = "http://determined.ai/schemas/expconf/v0/"
# Filled by the master, so a file may leave them out.
FILLED_LATE = {
    "checkpoint_storage",
    "reproducibility",
    "hyperparameters",
    "name",
    "image",
    "cpu",
    "cuda",
    "rocm",
}


def _fails(validator: Any, instance: Any, schema: Any) -> bool:
    return any(True for _ in validator.descend(instance, schema))


def _union(validator: Any, union: Any, instance: Any, schema: Any) -> list[ValidationError]:
    fitting = sum(not _fails(validator, instance, member) for member in union["items"])
    message = union.get("defaultMessage", "no member of the union matches")
    return [] if fitting == 1 else [ValidationError(message)]


def _checks(validator: Any, checks: Any, instance: Any, schema: Any) -> list[ValidationError]:
    return [ValidationError(m) for m, test in checks.items() if _fails(validator, instance, test)]


def _optional_ref(validator: Any, ref: str, instance: Any, schema: Any) -> Any:
    return [] if instance is None else validator.descend(instance, {"$ref": ref})


def _eventually(validator: Any, test: Any, instance: Any, schema: Any) -> Any:
    return validator.descend(instance, test)


def _required(validator: Any, names: Any, instance: Any, schema: Any) -> list[ValidationError]:
    missing = [
        name
        for name in names
        if isinstance(instance, dict) and instance.get(name) is None and name not in FILLED_LATE
    ]
    return [ValidationError(f"{name} is required") for name in missing]


def _compare(validator: Any, compare: Any, instance: Any, schema: Any) -> list[ValidationError]:
    a, b = compare["a"], compare["b"]
    if compare["type"] == "a<b" and isinstance(instance, dict) and {a, b} <= set(instance):
        return [] if instance[a] < instance[b] else [ValidationError(f"{a} must be below {b}")]
    return []


@functools.cache
def _validator(directory: Path, name: str = "experiment") -> Any:
    schemas = {}
    for path in directory.glob("*.json"):
        schema = json.loads(path.read_text())
        schema.pop("$schema")  # or nested references would lose the keywords below
        schemas[schema["$id"]] = schema
    registry = Registry().with_resources(
        (name, DRAFT7.create_resource(schema)) for name, schema in schemas.items()
    )
    keywords = {
        "union": _union,
        "checks": _checks,
        "optionalRef": _optional_ref,
        "eventually": _eventually,
        "eventuallyRequired": _required,
        "compareProperties": _compare,
    }
    extended = jsonschema.validators.extend(jsonschema.Draft7Validator, keywords)
    return extended(schemas[f"{BASE}{name}.json"], registry=registry)


def schema_errors(path: Path, directory: Path) -> list[str]:
    """What the schemas in `directory` say against a file, read as the master does (YAML 1.1)."""
    config = yaml.safe_load(path.read_text())
    return [error.message for error in _validator(directory).iter_errors(config)]


def part_errors(part: Any, name: str, directory: Path) -> list[str]:
    """What one section's schema (`environment`, `resources`, …) says against a section."""
    return [error.message for error in _validator(directory, name).iter_errors(part)]
