"""Weights of a mixture: which are in force, and what is wrong with those that were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from det_files.faults import ConfigError, Fault, Faults
from det_files.schema import Field, check_mapping, show

if TYPE_CHECKING:
    from det_files.data.arguments import SourceArguments

_WEIGHT = Field("weight", frozenset({"float"}), minimum=0)


def parse_sources(path: str, text: str, faults: Faults) -> list[dict[str, Any]]:
    """The sources of "path:0.2,path2:0.8", as mappings; a path alone has no weight."""
    found: list[dict[str, Any]] = []
    for i, item in enumerate(text.split(",")):
        before, colon, behind = item.strip().rpartition(":")
        if not item.strip() or (colon and not before):
            faults.add(f"{path}[{i}]", f'expected "path" or "path:weight", got {show(item)}')
        elif not colon:
            found.append({"path": behind})
        elif (weight := _number(behind)) is not None:
            found.append({"path": before, "weight": weight})
        else:
            reason = f"expected a weight behind the colon, got {show(behind)}"
            faults.add(f"{path}[{i}]", f"{reason}; a path with a colon is written {{path: …}}")
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def weights_in_force(
    sources: Sequence[SourceArguments], by_name: Mapping[str, float]
) -> list[float] | None:
    """Each source's share, of which all sum to 1; None where no source has a weight.

    Raises:
        ConfigError: no mixture was drawn, such as one whose weights are all 0.
    """
    weights = _given(sources, by_name)
    numbers = [float(weight) for weight in weights if weight is not None]
    if not numbers:
        return None
    total = sum(numbers)
    if len(numbers) != len(weights) or total <= 0:
        names = [source.label for source in sources]
        reason = f"no mixture: {dict(zip(names, weights, strict=True))}"
        raise ConfigError(Fault("hyperparameters.data_arguments.mixture_weights", reason))
    return [number / total for number in numbers]


def _given(sources: Sequence[SourceArguments], by_name: Mapping[str, Any]) -> list[Any]:
    return [by_name.get(source.label, source.weight) for source in sources]


def check_weights(
    path: str,
    sources: Sequence[SourceArguments],
    by_name_path: str,
    by_name: Mapping[str, Any],
    faults: Faults,
) -> None:
    """Notes what keeps the weights from being a mixture.

    Args:
        path: the place of the sources.
        sources: with or without weights of their own.
        by_name_path: the place of `mixture_weights`.
        by_name: `mixture_weights`; its values may be hyperparameters.
        faults: takes the notes.
    """
    names = [source.label for source in sources]
    check_mapping(by_name_path, by_name, dict.fromkeys(names, _WEIGHT), faults)
    _check_names(path, sources, bool(by_name), faults)
    weights = _given(sources, by_name)
    some = any(weight is not None for weight in weights)
    for i, source in enumerate(sources):
        if source.weight is not None and source.label in by_name:
            reason = f"{show(source.label)} has a weight in mixture_weights, too; give one of them"
            faults.add(f"{path}[{i}].weight", reason)
        if some and weights[i] is None:
            reason = "has no weight and others have one; give all of them one, or none"
            faults.add(f"{path}[{i}].weight", f"missing: {show(source.label)} {reason}")
    # What a search draws is checked once it is drawn.
    if weights and all(weight == 0 for weight in weights):
        at = by_name_path if by_name else path
        faults.add(at, "every weight is 0: no source is left to train on")


def _check_names(
    path: str, sources: Sequence[SourceArguments], by_name: bool, faults: Faults
) -> None:
    """Notes names that stand for two sources, where they were stated or weights go by them."""
    first: dict[str, int] = {}
    for i, source in enumerate(sources):
        earlier = first.setdefault(source.label, i)
        if earlier != i and (by_name or (source.name and sources[earlier].name)):
            reason = f"{show(source.label)} is the name of {path.rpartition('.')[2]}[{earlier}]"
            faults.add(f"{path}[{i}].name", f"{reason}, too; give each a name of its own")
