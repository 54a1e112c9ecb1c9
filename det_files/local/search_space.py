"""The hyperparameters that a search varies: as Optuna's distributions, and as a grid's points.

A parameter is named by its dotted path in the hyperparameters. Ranges and grid points are those of
Determined (its hyperparameter reference; `pkg/searcher/grid.go`): an int has both ends, a log is
drawn evenly in the exponent.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from det_files.hyperparameters import Path, is_hyperparameter, searched

Value = None | bool | int | float | str


class SearchSpace:
    """What is searched in a tree of hyperparameters that has been checked."""

    def __init__(self, hyperparameters: Mapping[str, Any]):
        self._tree = hyperparameters
        self._searched = {
            ".".join(path): parameter for path, parameter in searched(hyperparameters)
        }

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Name → Optuna's distribution, in the order of the file."""
        return {name: _distribution(parameter) for name, parameter in self._searched.items()}

    @property
    def grid_distributions(self) -> dict[str, BaseDistribution]:
        """The same for a grid: its points are all that there is."""
        return {
            name: CategoricalDistribution(_grid_points(parameter))
            for name, parameter in self._searched.items()
        }

    def fill(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters with these values in place of what is searched.

        Args:
            params: Name → value as Optuna has it (see `_labels`), for every searched parameter.
        """
        return _fill(self._tree, (), params)

    def grid(self) -> list[dict[str, Value]]:
        """Every point of a grid search; the last parameter changes fastest.

        Raises:
            KeyError: A range has no `count` (`check_grid` says so beforehand).
        """
        points = [_grid_points(parameter) for parameter in self._searched.values()]
        return [
            dict(zip(self._searched, point, strict=True)) for point in itertools.product(*points)
        ]


def _fill(tree: Mapping[str, Any], path: Path, params: Mapping[str, Any]) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for key, value in tree.items():
        here = (*path, str(key))
        if not isinstance(value, Mapping):
            filled[key] = value
        elif not is_hyperparameter(value):
            filled[key] = _fill(value, here, params)
        elif value["type"] == "const":
            filled[key] = value["val"]
        elif value["type"] == "categorical":
            chosen = _labels(value["vals"]).index(params[".".join(here)])
            filled[key] = value["vals"][chosen]
        else:
            filled[key] = params[".".join(here)]
    return filled


def _labels(choices: Sequence[Any]) -> list[Value]:
    """What Optuna's storage and its dashboard have in place of the choices: they know scalars only.

    The choices themselves where they are different scalars, else their JSON.
    """
    scalars = all(isinstance(choice, Value) for choice in choices)
    if scalars and len(set(choices)) == len(choices):
        return list(choices)
    return [json.dumps(choice, sort_keys=True) for choice in choices]


def _distribution(parameter: Mapping[str, Any]) -> BaseDistribution:
    kind = parameter["type"]
    if kind == "categorical":
        return CategoricalDistribution(_labels(parameter["vals"]))
    low, high = parameter["minval"], parameter["maxval"]
    if kind == "int":
        return IntDistribution(int(low), int(high))
    if kind == "double":
        return FloatDistribution(float(low), float(high))
    base = float(parameter["base"])
    low, high = sorted((base**low, base**high))  # a base below 1 turns them round
    return FloatDistribution(low, high, log=True)


def _grid_points(parameter: Mapping[str, Any]) -> list[Value]:
    kind = parameter["type"]
    if kind == "categorical":
        return _labels(parameter["vals"])
    low, high, count = parameter["minval"], parameter["maxval"], int(parameter["count"])
    if kind == "int":
        count = min(count, int(high) - int(low) + 1)
    if count == 1:
        points = [(low + high) / 2]
    else:
        points = [low + i * (high - low) / (count - 1) for i in range(count)]
    if kind == "int":
        # Halves go away from zero, as Go rounds them.
        return [int(math.copysign(math.floor(abs(point) + 0.5), point)) for point in points]
    return [float(parameter["base"]) ** point for point in points] if kind == "log" else points
