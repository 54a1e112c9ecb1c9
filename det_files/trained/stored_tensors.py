"""Tensors on disk that are read one at a time, and safetensors files written from them.

Neither direction holds more than one tensor: a model is copied, and its precision changed, in the
memory of its largest tensor. The format is a header and the tensors' bytes end to end:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.faults import ConfigError, Fault
from det_files.trained.weights import INDEX_FILE, WEIGHTS_FILE, weight_files

if TYPE_CHECKING:
    import torch

_HEADER_ALIGNMENT_BYTES = 8
# torch's names of what a model's state holds, and safetensors'.
_FORMAT_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that `read` brings into memory, a new one at each call."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]

    def read_as(self, dtype: torch.dtype) -> torch.Tensor:
        """The tensor, contiguous, in `dtype` where it holds fractions, else as it is."""
        return self.read().to(self.written_dtype(dtype)).contiguous()

    def written_dtype(self, dtype: torch.dtype) -> torch.dtype:
        return dtype if self.dtype.is_floating_point else self.dtype

    def written_bytes(self, dtype: torch.dtype) -> int:
        return math.prod(self.shape) * self.written_dtype(dtype).itemsize


def read_safetensors(directory: Path) -> dict[str, StoredTensor]:
    """The tensors of a directory's model, by name."""
    import torch
    from safetensors import safe_open

    dtypes = {name: getattr(torch, ours) for ours, name in _FORMAT_NAMES.items()}
    found = {}
    for file in weight_files(directory):

        def reader(name: str, file: Path = file) -> Callable[[], torch.Tensor]:
            def read() -> torch.Tensor:
                # Opened anew: a mapping that is kept counts every page that was ever read.
                with safe_open(file, framework="pt") as stream:
                    return torch.as_tensor(stream.get_tensor(name)).clone()

            return read

        with safe_open(file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118  # it is no mapping
                view = stream.get_slice(name)
                shape = tuple(view.get_shape())
                found[name] = StoredTensor(shape, dtypes[view.get_dtype()], reader(name))
    return found


def write_safetensors(
    tensors: Mapping[str, StoredTensor], directory: Path, dtype: torch.dtype, max_shard_size: str
) -> None:
    """Writes model.safetensors, or shards of it with an index where it is over `max_shard_size`.

    Args:
        tensors: name → tensor.
        directory: an existing one.
        dtype: of every tensor of fractions.
        max_shard_size: of one file ("5GB"); a larger tensor has a file of its own.

    Raises:
        ConfigError: a tensor holds NaN, or what is beyond the range of `dtype`.
    """
    from huggingface_hub import split_state_dict_into_shards_factory

    plan = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: tensor.written_bytes(dtype),
        filename_pattern=WEIGHTS_FILE.replace(".safetensors", "{suffix}.safetensors"),
        max_shard_size=max_shard_size,
    )
    for file, names in plan.filename_to_tensors.items():
        _write_file(directory / file, {name: tensors[name] for name in names}, dtype)
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (directory / INDEX_FILE).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _write_file(file: Path, tensors: Mapping[str, StoredTensor], dtype: torch.dtype) -> None:
    import torch

    # Wide numbers first, so that each begins at a multiple of its width.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].written_dtype(dtype).itemsize)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.written_bytes(dtype)
        kind = _FORMAT_NAMES[str(tensor.written_dtype(dtype)).removeprefix("torch.")]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT_BYTES)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in ordered:
            values = tensor.read_as(dtype)
            check_range(name, values)
            values.reshape(-1).view(torch.uint8).numpy().tofile(stream)


def check_range(name: str, written: torch.Tensor) -> None:
    """Refuses what no model computes with: NaN, and in float16 infinity.

    bfloat16 and float32 share a range; float16 ends at 65,504, and larger weights would be
    infinite without a word.

    Raises:
        ConfigError: there is some, with the tensor's name.
    """
    import torch

    if not written.is_floating_point():
        return
    if written.isnan().any():
        raise ConfigError(Fault(name, "holds NaN: the training had diverged"))
    if written.dtype == torch.float16 and written.isinf().any():
        reason = "holds values beyond float16's range (65,504): use bfloat16 or float32"
        raise ConfigError(Fault(f"--dtype float16: {name}", reason))
