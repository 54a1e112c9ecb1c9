"""Reading `hyperparameters.data_arguments`: the typed arguments, or every fault of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from det_files.data.arguments import (
    BLOCKS,
    INPUT_PLACEHOLDER,
    OUTPUT_PLACEHOLDER,
    PREFERENCE_ROLES,
    ROLES,
    DataArguments,
    SourceArguments,
)
from det_files.data.weights import check_weights, parse_sources
from det_files.faults import Faults, did_you_mean
from det_files.hyperparameters import is_hyperparameter, representatives
from det_files.schema import Field, check_mapping, fields_of, show


def read_data_arguments(path: str, mapping: Mapping[str, Any], faults: Faults) -> DataArguments:
    """Returns the typed arguments; notes every fault in them, sources and templates included."""
    fields = fields_of(DataArguments)
    fields["sources"] = Field("sources", frozenset({"list", "str"}))
    read = check_mapping(path, mapping, fields, faults)
    read["sources"] = _read_sources(path, mapping, faults)
    for where, value in _values(path, read, "chat_template"):
        if value not in ("auto", "none") and not value.endswith(".jinja"):
            expected = "expected auto, none, or the path of a .jinja file"
            faults.add(where, f"{expected}, got {show(value)}")
    for where, value in _values(path, read, "packing"):
        if value != BLOCKS:
            hint = did_you_mean(value.lower(), [BLOCKS])
            faults.add(where, f"expected one of false, true, {BLOCKS}, got {show(value)}{hint}")
    _check_formats(path, read, faults)
    if read.get("mixture_stopping") == "all_exhausted" and not _has_weights(read):
        faults.add(f"{path}.mixture_stopping", "all_exhausted has no effect without weights")
    return DataArguments(**read)


def _has_weights(read: Mapping[str, Any]) -> bool:
    weighted = [source for source in read["sources"] if source.weight is not None]
    return bool(weighted or read.get("mixture_weights") or not read["sources"])


def _values(path: str, read: Mapping[str, Any], key: str) -> Iterator[tuple[str, str]]:
    """(place, string) of every string that an argument may become."""
    for suffix, value in representatives(read.get(key)):
        if isinstance(value, str):
            yield f"{path}.{key}{suffix}", value


def _check_formats(path: str, read: Mapping[str, Any], faults: Faults) -> None:
    for key, placeholder in (
        ("input_format", INPUT_PLACEHOLDER),
        ("output_format", OUTPUT_PLACEHOLDER),
    ):
        for where, template in _values(path, read, key):
            if placeholder not in template:
                faults.add(where, f"the template lacks its placeholder {placeholder}")


def _read_sources(path: str, mapping: Mapping[str, Any], faults: Faults) -> list[SourceArguments]:
    """The sources; where a search chooses among lists of them, all are checked, none returned."""
    value, by_name = mapping.get("sources"), mapping.get("mixture_weights") or {}
    if not value:
        faults.add(f"{path}.sources", "missing: name a source, e.g. [{path: data/quickstart}]")
        return []
    found: list[SourceArguments] = []
    for suffix, candidate in representatives(value):
        where, known_before = f"{path}.sources{suffix}", len(faults.found)
        items = parse_sources(where, candidate, faults) if isinstance(candidate, str) else candidate
        if not isinstance(items, list):
            continue  # the wrong type is noted already
        found = [
            source
            for i, item in enumerate(items)
            if (source := _read_source(f"{where}[{i}]", item, faults))
        ]
        # A fault in the list itself would make every name in mixture_weights an unknown one.
        if len(found) == len(items) and len(faults.found) == known_before:
            for choice, weights in representatives(by_name):
                if isinstance(weights, Mapping):
                    at = f"{path}.mixture_weights{choice}"
                    check_weights(where, found, at, weights, faults)
    return [] if is_hyperparameter(value) else found


def _read_source(path: str, item: Any, faults: Faults) -> SourceArguments | None:
    if not isinstance(item, Mapping):
        faults.add(path, "expected a mapping such as {path: data/quickstart}")
        return None
    if is_hyperparameter(item):
        return None  # noted by check_hyperparameters
    known_before = len(faults.found)
    read = check_mapping(path, item, fields_of(SourceArguments), faults)
    if (read.get("path") is None) == (read.get("dataset_name") is None):
        faults.add(path, "expected either path or dataset_name")
    for key in ("dataset_config", "streaming"):
        if read.get(key) and read.get("path"):
            faults.add(f"{path}.{key}", "belongs to dataset_name, not to path")
    columns = read.get("columns") or {}
    for role in columns if isinstance(columns, Mapping) else ():
        if role not in (*ROLES, *PREFERENCE_ROLES):
            faults.unknown(f"{path}.columns", role, (*ROLES, *PREFERENCE_ROLES))
    for role in ("text", "messages"):
        if isinstance(columns, Mapping) and role in columns and len(columns) > 1:
            expected = "expected text alone (plain text), messages alone, or input and output"
            faults.add(f"{path}.columns", expected)
    _check_formats(path, read, faults)
    return SourceArguments(**read) if len(faults.found) == known_before else None
