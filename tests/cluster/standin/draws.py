"""Hyperparameters of an experiment's trials, as its searcher draws them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any


def draws(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Hyperparameters of every trial that the searcher may create."""
    rng, searcher = random.Random(17), config["searcher"]
    if searcher["name"] != "grid":
        for _ in range(searcher.get("max_trials", 1)):
            yield _draw(config["hyperparameters"], lambda spec: _sample(spec, rng))
        return
    axes: list[list[Any]] = []

    def collect(spec: Mapping[str, Any]) -> Any:
        axes.append(_grid(spec))
        return None

    _draw(config["hyperparameters"], collect)
    for point in itertools.product(*axes):
        values = iter(point)
        yield _draw(config["hyperparameters"], lambda spec, values=values: next(values))


def _draw(tree: Any, choose: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    if "type" in tree:
        return tree["val"] if tree["type"] == "const" else choose(tree)
    return {name: _draw(value, choose) for name, value in tree.items()}


def _sample(spec: Mapping[str, Any], rng: random.Random) -> Any:
    if spec["type"] == "categorical":
        return rng.choice(spec["vals"])
    if spec["type"] == "int":
        return rng.randint(spec["minval"], spec["maxval"])
    value = rng.uniform(spec["minval"], spec["maxval"])
    return spec.get("base", 10.0) ** value if spec["type"] == "log" else value


def _grid(spec: Mapping[str, Any]) -> list[Any]:
    if spec["type"] == "categorical":
        return list(spec["vals"])
    low, high, count = spec["minval"], spec["maxval"], spec["count"]
    points = [low + (high - low) * i / max(count - 1, 1) for i in range(count)]
    if spec["type"] == "int":
        return [round(point) for point in points]
    return [spec.get("base", 10.0) ** p if spec["type"] == "log" else p for p in points]
