"""Datasets of the hub, through the datasets library: downloaded whole, or streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.data.arguments import SourceArguments
from det_files.data.files import Record
from det_files.data.rows import wanted_columns
from det_files.data.sources import Split
from det_files.faults import ConfigError, Fault

_NAMES = {"train": ("train",), "val": ("validation", "val", "valid", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class HubSplit(Split):
    """A split of a dataset; `revision` tells the dataset's content from any other."""

    dataset: Any
    hub_name: str
    revision: str

    def records(self) -> Iterator[Record]:
        names = self.dataset.column_names  # None where a stream does not know them
        wanted = [name for name in names or [] if name in wanted_columns(self.source.columns)]
        dataset = self.dataset.select_columns(wanted) if wanted else self.dataset
        for number, values in enumerate(dataset, 1):
            place = f"{self.source.dataset_name}, {self.hub_name}, row {number}"
            yield Record(place, values)

    def fingerprint(self, notes: Path | None) -> list[str]:
        return [self.revision, self.hub_name]

    def hints(self) -> list[str]:
        columns = ", ".join(self.dataset.column_names or [])
        return [f"its columns are {columns}: map them with columns: {{input: …, output: …}}"]


def open_dataset(source: SourceArguments, section: str) -> dict[str, HubSplit]:
    """The splits of a dataset of the hub (or of its local cache), by our names.

    Raises:
        ConfigError: it cannot be loaded, or has no train split.
    """
    found, revision = _load(source, section)
    splits = {
        name: HubSplit(section, name, source, found[hub_name], hub_name, revision)
        for name, hub_names in _NAMES.items()
        if (hub_name := next((n for n in hub_names if n in found), ""))
    }
    if "train" not in splits:
        there = ", ".join(found)
        reason = f"{source.dataset_name} has no train split (it has: {there})"
        raise ConfigError(Fault(f"{section}.dataset_name", reason))
    return splits


def _load(source: SourceArguments, section: str) -> tuple[Mapping[str, Any], str]:
    """(dataset by split, what its content is called: name, config and the files' revision)."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(source.dataset_name, source.dataset_config)
        # The directory in the library's cache: named by config, version and a hash of the files.
        revision = "/".join(Path(builder.cache_dir).parts[-4:])
        if source.streaming:
            return builder.as_streaming_dataset(), revision
        builder.download_and_prepare()
        return builder.as_dataset(), revision
    except Exception as error:  # the library and its hub client raise many kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ConfigError(
            Fault(
                f"{section}.dataset_name",
                f"{source.dataset_name} could not be loaded ({type(error).__name__}: {first}). "
                "Where nodes cannot reach the hub, download it once with HF_HOME on a shared "
                "directory and name the same HF_HOME in environment.environment_variables",
            )
        ) from error
