"""Determined's hyperparameter mappings: which are ones, what they may become, one draw of them.

Source of the format: Determined's experiment configuration reference, `hyperparameters`: a mapping
with a `type` key is a hyperparameter wherever it stands, except inside a list, which is constant.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from det_files.faults import Faults, did_you_mean

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
    return isinstance(value, Mapping) and value.get("type") in TYPES


def representatives(value: Any) -> Iterator[tuple[str, Any]]:
    """The values to check in place of `value`, each with the suffix that names it in a path.

    A plain value stands for itself; a range for its two ends; a categorical for every choice.
    """
    if not is_hyperparameter(value):
        yield "", value
        return
    kind = value["type"]
    if kind == "const" and "val" in value:
        yield ".val", value["val"]
    elif kind == "categorical":
        yield from ((f".vals[{i}]", choice) for i, choice in enumerate(value.get("vals") or []))
    else:
        for end in ("minval", "maxval"):
            bound = value.get(end)
            if not isinstance(bound, int | float) or isinstance(bound, bool):
                continue
            yield f".{end}", _base(value) ** bound if kind == "log" else bound


def _base(value: Mapping[str, Any]) -> float:
    base = value.get("base", 10)
    return float(base) if isinstance(base, int | float) else 10.0


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
    elif tree["type"] not in TYPES:
        faults.add(
            f"{path}.type",
            "Determined reads every mapping with a `type` key as a hyperparameter, and "
            f"{tree['type']!r} is none of {', '.join(TYPES)}{did_you_mean(tree['type'], TYPES)}; "
            "for a literal mapping write {type: const, val: {…}}",
        )
    else:
        _check_hyperparameter(path, tree, faults)


def _check_hyperparameter(path: str, value: Mapping[str, Any], faults: Faults) -> None:
    required, optional = TYPES[value["type"]]
    for key in sorted(required - set(value)):
        faults.add(f"{path}.{key}", f"missing; a {value['type']} hyperparameter needs it")
    for key in sorted(set(value) - required - optional - {"type"}):
        faults.unknown(path, key, required | optional)
    if value["type"] == "categorical" and not (
        isinstance(value.get("vals"), list) and value["vals"]
    ):
        faults.add(f"{path}.vals", "expected a list with at least one value")
    low, high = value.get("minval"), value.get("maxval")
    if isinstance(low, int | float) and isinstance(high, int | float) and low >= high:
        faults.add(f"{path}.minval", f"expected < maxval ({high}), got {low}")


def _check_in_list(path: str, item: Any, faults: Faults) -> None:
    if is_hyperparameter(item):
        faults.add(path, "a hyperparameter inside a list is not searched: Determined hands lists on")
    elif isinstance(item, Mapping):
        for key, inner in item.items():
            _check_in_list(f"{path}.{key}", inner, faults)
    elif isinstance(item, list):
        for i, inner in enumerate(item):
            _check_in_list(f"{path}[{i}]", inner, faults)


def sample(tree: Any, rng: random.Random) -> Any:
    """One draw of every hyperparameter in the tree; constants and lists are handed on.

    An int is drawn from minval to maxval inclusive, a log from base**minval to base**maxval.
    """
    if not isinstance(tree, Mapping):
        return tree
    if not is_hyperparameter(tree):
        return {key: sample(value, rng) for key, value in tree.items()}
    kind = tree["type"]
    if kind == "const":
        return tree["val"]
    if kind == "categorical":
        return rng.choice(list(tree["vals"]))
    low, high = tree["minval"], tree["maxval"]
    if kind == "int":
        return rng.randint(int(low), int(high))
    drawn = rng.uniform(low, high)
    return float(_base(tree) ** drawn) if kind == "log" else drawn
