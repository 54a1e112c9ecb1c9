"""What `hyperparameters.data_arguments` may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from det_files.faults import Faults
from det_files.hyperparameters import is_hyperparameter
from det_files.schema import check_mapping, fields_of

INPUT_PLACEHOLDER = "__input__"
OUTPUT_PLACEHOLDER = "__output__"
ROLES = ("input", "output", "text")


@dataclass(frozen=True)
class SourceArguments:
    """One source of rows: a directory with train/, val/ and test/, or a dataset of the hub."""

    path: str | None = field(default=None, metadata={"help": "directory with train/ val/ test/"})
    dataset_name: str | None = field(default=None, metadata={"help": "hub id of a dataset"})
    dataset_config: str | None = field(default=None, metadata={"help": "the dataset's config name"})
    columns: dict[str, str] = field(
        default_factory=dict,
        metadata={"help": "{input: column, output: column}, or {text: column} for plain text"},
    )
    name: str | None = field(default=None, metadata={"help": "what reports call it"})
    weight: float = field(
        default=1.0, metadata={"help": "share of the mixture", "exclusive_minimum": 0}
    )


@dataclass(frozen=True)
class DataArguments:
    """Where rows come from, how they become text, and where they are cut. Lengths are tokens."""

    sources: list[SourceArguments] = field(default_factory=list)
    input_format: str = field(
        default=INPUT_PLACEHOLDER, metadata={"help": "template of the prompt, with __input__"}
    )
    output_format: str = field(
        default=OUTPUT_PLACEHOLDER, metadata={"help": "template of the answer, with __output__"}
    )
    chat_template: str = field(
        default="auto",
        metadata={
            "choices": ("auto", "none"),
            "help": "auto: the tokenizer's chat template where it has one; none: plain text",
        },
    )
    max_input_tokens: int = field(
        default=1024, metadata={"minimum": 1, "help": "tokens kept of a row's input"}
    )
    max_output_tokens: int = field(
        default=1024, metadata={"minimum": 1, "help": "tokens kept of a row's output"}
    )
    block_size: int = field(
        default=1024, metadata={"minimum": 2, "help": "tokens a block of plain text"}
    )
    validation_split_percentage: float = field(
        default=5.0,
        metadata={
            "exclusive_minimum": 0,
            "maximum": 50,
            "help": "per cent of train taken (seeded) where there is no val split",
        },
    )
    max_train_samples: int | None = field(
        default=None, metadata={"minimum": 1, "help": "rows of train used, the first ones"}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"minimum": 1, "help": "rows of val used, the first ones"}
    )


def read_data_arguments(path: str, mapping: Mapping[str, Any], faults: Faults) -> DataArguments:
    """Returns the typed arguments; notes every fault in them, sources and templates included."""
    read = check_mapping(path, mapping, fields_of(DataArguments), faults)
    read["sources"] = _read_sources(f"{path}.sources", mapping.get("sources"), faults)
    for key, placeholder in (
        ("input_format", INPUT_PLACEHOLDER),
        ("output_format", OUTPUT_PLACEHOLDER),
    ):
        template = read.get(key, placeholder)
        if isinstance(template, str) and placeholder not in template:
            faults.add(f"{path}.{key}", f"the template lacks its placeholder {placeholder}")
    return DataArguments(**read)


def _read_sources(path: str, value: Any, faults: Faults) -> list[SourceArguments]:
    if not value:
        faults.add(path, "missing: name a source, e.g. [{path: data/quickstart}]")
        return []
    if not isinstance(value, list):
        return []  # the wrong type is noted already
    if len(value) > 1:
        faults.add(path, f"one source is supported, got {len(value)}; mixtures do not exist yet")
    return [
        source
        for i, item in enumerate(value)
        if (source := _read_source(f"{path}[{i}]", item, faults))
    ]


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
    if read.get("dataset_config") and read.get("path"):
        faults.add(f"{path}.dataset_config", "belongs to dataset_name, not to path")
    columns = read.get("columns") or {}
    for role in columns if isinstance(columns, Mapping) else ():
        if role not in ROLES:
            faults.unknown(f"{path}.columns", role, ROLES)
    if isinstance(columns, Mapping) and "text" in columns and len(columns) > 1:
        faults.add(f"{path}.columns", "expected text alone (plain text), or input and output")
    return SourceArguments(**read) if len(faults.found) == known_before else None
