"""Determined's hyperparameter mappings: which are ones, what they may become, one draw of them.

Source of the format: Determined's experiment configuration reference, `hyperparameters`: a mapping
with a `type` key is a hyperparameter wherever it stands, except inside a list, which is constant.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from det_files.faults import Faults, did_you_mean

Path = tuple[str, ...]

# type -> (required keys, optional keys), as in Determined's published schemas.
TYPES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "const": (frozenset({"val"}), frozenset()),
    "int": (frozenset({"minval", "maxval"}), frozenset({"count"})),
    "double": (frozenset({"minval", "maxval"}), frozenset({"count"})),
    "log": (frozenset({"base", "minval", "maxval"}), frozenset({"count"})),
    "categorical": (frozenset({"vals"}), frozenset()),
}


def is_hyperparameter(value: Any) -> bool:
    """True for a mapping that Determined reads as a hyperparameter of a known type."""
    return isinstance(value, Mapping) and _is_type(value.get("type"))


def _is_type(name: Any) -> bool:
    return isinstance(name, str) and name in TYPES


def representatives(value: Any) -> Iterator[tuple[str, Any]]:
    """The values to check in place of `value`, each with the suffix that names it in a path.

    A plain value stands for itself; a range for its two ends; a categorical for every choice. A
    malformed hyperparameter has none (check_hyperparameters says what is wrong with it).
    """
    if not is_hyperparameter(value):
        yield "", value
        return
    if not _is_whole(value):
        return
    kind = value["type"]
    if kind == "const":
        yield ".val", value["val"]
    elif kind == "categorical":
        yield from ((f".vals[{i}]", choice) for i, choice in enumerate(value["vals"]))
    else:
        for end in ("minval", "maxval"):
            yield f".{end}", float(value["base"]) ** value[end] if kind == "log" else value[end]


def check_hyperparameters(path: str, tree: Any, faults: Faults) -> None:
    """Notes malformed hyperparameters, stray `type` keys and hyperparameters inside lists."""
    if isinstance(tree, list):
        for i, item in enumerate(tree):
            _check_in_list(f"{path}[{i}]", item, faults)
    if not isinstance(tree, Mapping):
        return
    if "type" not in tree:
        for key, item in tree.items():
            check_hyperparameters(f"{path}.{key}", item, faults)
    elif not _is_type(tree["type"]):
        faults.add(
            f"{path}.type",
            "Determined reads every mapping with a `type` key as a hyperparameter, and "
            f"{tree['type']!r} is none of {', '.join(TYPES)}{did_you_mean(tree['type'], TYPES)}; "
            "for a literal mapping write {type: const, val: {…}}",
        )
    else:
        _check_hyperparameter(path, tree, faults)


def check_grid(path: str, tree: Any, faults: Faults) -> None:
    """Notes the ranges that a grid search cannot walk: those without a `count`."""
    if is_hyperparameter(tree):
        if "count" in TYPES[tree["type"]][1] and tree.get("count") is None:
            faults.add(f"{path}.count", "missing; a grid search needs it")
    elif isinstance(tree, Mapping):
        for key, item in tree.items():
            check_grid(f"{path}.{key}", item, faults)


def _is_whole(value: Mapping[str, Any]) -> bool:
    faults = Faults()
    _check_hyperparameter("", value, faults)
    return not faults.found


def _check_hyperparameter(path: str, value: Mapping[str, Any], faults: Faults) -> None:
    kind = value["type"]
    required, optional = TYPES[kind]
    for key in sorted(required - set(value)):
        faults.add(f"{path}.{key}", f"missing; type {kind} needs it")
    for key in value:
        if key not in required | optional | {"type"}:
            faults.unknown(path, str(key), required | optional)
    if kind == "categorical" and "vals" in value:
        if isinstance(value["vals"], list) and value["vals"]:
            check_hyperparameters(f"{path}.vals", value["vals"], faults)
        else:
            faults.add(f"{path}.vals", "expected a list with at least one value")
    if kind in ("int", "double", "log"):
        _check_range(path, value, faults)


def _check_range(path: str, value: Mapping[str, Any], faults: Faults) -> None:
    """Notes ends, base and count that are no numbers, or that span no range."""
    kind, known = value["type"], len(faults.found)
    for key in ("minval", "maxval", "base", "count"):
        if key not in value or (key == "count" and value[key] is None):
            continue
        number = value[key]
        whole = key == "count" or kind == "int"
        if not _is_number(number) or (whole and number != int(number)):
            expected = "a whole number" if whole else "a finite number"
            faults.add(f"{path}.{key}", f"expected {expected}, got {number!r}")
        elif key in ("base", "count") and number <= 0:
            faults.add(f"{path}.{key}", f"expected > 0, got {number}")
    if len(faults.found) > known or not {"minval", "maxval"} <= set(value):
        return
    low, high = value["minval"], value["maxval"]
    if low >= high:
        faults.add(f"{path}.minval", f"expected < maxval ({high}), got {low}")
    if kind == "log" and "base" in value:
        for end in ("minval", "maxval"):
            try:
                float(value["base"]) ** value[end]
            except OverflowError:
                faults.add(
                    f"{path}.{end}",
                    f"{value['base']} to the power of {value[end]} is too large; minval and "
                    "maxval are exponents",
                )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_in_list(path: str, item: Any, faults: Faults) -> None:
    if is_hyperparameter(item):
        faults.add(
            path,
            "a hyperparameter inside a list is not searched: Determined hands lists on literally",
        )
    elif isinstance(item, Mapping):
        for key, inner in item.items():
            _check_in_list(f"{path}.{key}", inner, faults)
    elif isinstance(item, list):
        for i, inner in enumerate(item):
            _check_in_list(f"{path}[{i}]", inner, faults)


def sample(tree: Any, rng: random.Random) -> Any:
    """One draw of every hyperparameter in the tree; all else, malformed ones too, is handed on.

    An int is drawn from minval to maxval inclusive, a log from base**minval to base**maxval.
    """
    if not isinstance(tree, Mapping):
        return tree
    if not is_hyperparameter(tree):
        return {key: sample(value, rng) for key, value in tree.items()}
    if not _is_whole(tree):
        return tree
    kind = tree["type"]
    if kind == "const":
        return tree["val"]
    if kind == "categorical":
        return rng.choice(tree["vals"])
    low, high = tree["minval"], tree["maxval"]
    if kind == "int":
        return rng.randint(int(low), int(high))
    drawn = rng.uniform(low, high)
    return float(tree["base"]) ** drawn if kind == "log" else drawn


def searched(tree: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, hyperparameter) of everything in the tree that a search varies."""
    for key, value in tree.items():
        here = (*path, str(key))
        if is_hyperparameter(value):
            if value["type"] != "const":
                yield here, value
        elif isinstance(value, Mapping):
            yield from searched(value, here)


def values_of(tree: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name → what `drawn`, a draw of the tree, has for each value that a search varies."""
    found = {}
    for path, _ in searched(tree):
        value: Any = drawn
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        found[".".join(path)] = value
    return found


def as_constants(drawn: Any) -> Any:
    """A tree of which `drawn` is the only draw: literal mappings with a `type` become constants.

    What a trial is given has been drawn already, so a mapping with a `type` in it is a literal.
    """
    if not isinstance(drawn, Mapping):
        return drawn
    if "type" in drawn:
        return {"type": "const", "val": drawn}
    return {key: as_constants(value) for key, value in drawn.items()}
