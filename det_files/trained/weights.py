"""The weights of a checkpoint: which files hold them, and whether those are what was saved.

model.safetensors, or model.safetensors.index.json and the files it names   a whole model
latest (a tag), <tag>/*_states.pt                                           its ZeRO shards
adapter_config.json, adapter_model.safetensors                              an adapter
"""

from __future__ import annotations

import json
from pathlib import Path, PurePath

from det_files.cluster.manifest import MANIFEST_FILE, damage
from det_files.faults import Faults
from det_files.tuning.adapters import ADAPTER_FILE
from det_files.tuning.prompt_state import ENCODER_FILE

ADAPTER_WEIGHTS = "adapter_model.safetensors"
CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
SHARDS_TAG_FILE = "latest"  # DeepSpeed's: the name of the directory with the ZeRO shards
WEIGHTS_FILE = "model.safetensors"
# Of what is no weights, files of these kinds are read; optimizer and random states are not.
_READ = (".json", ".jinja", ".model", ".py", ".txt", ".yaml")


def weight_files(directory: Path) -> list[Path]:
    """The files of a whole model as transformers chooses them; none where there is no model.

    They may be missing. Others that lie beside them, of an earlier save say, are not among them.

    Raises:
        ValueError: the index is not one.
    """
    if (directory / WEIGHTS_FILE).is_file():
        return [directory / WEIGHTS_FILE]
    if not (directory / INDEX_FILE).is_file():
        return []
    try:
        index = json.loads((directory / INDEX_FILE).read_text(encoding="utf-8"))
        return [directory / name for name in sorted(set(index["weight_map"].values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is no index of weights ({type(error).__name__})") from error


def find_weight_faults(path: Path, is_adapter: bool, faults: Faults) -> None:
    """Notes what a checkpoint lacks, and which of the files that are read were damaged.

    Args:
        path: the checkpoint.
        is_adapter: whether an adapter is looked for, or a whole model.
        faults: to which they are added, all of them.
    """
    needed = _adapter_files(path, faults) if is_adapter else _model_files(path, faults)
    absent = [file for file in needed if not file.is_file()]
    for file in absent:
        faults.add(str(file), "missing")
    if faults.found:
        return
    names = {file.relative_to(path).as_posix() for file in needed} | {ENCODER_FILE}
    if (path / MANIFEST_FILE).is_file():
        for line in damage(path, matters=lambda n: n in names or PurePath(n).suffix in _READ):
            faults.add("", line)
    if is_adapter and not faults.found:
        _find_empty(path / ADAPTER_WEIGHTS, faults)


def _adapter_files(path: Path, faults: Faults) -> list[Path]:
    if not (path / ADAPTER_WEIGHTS).is_file() and (path / SHARDS_TAG_FILE).is_file():
        reason = (
            "missing: of this adapter there are ZeRO shards alone. They are not read here; resume "
            "the run, which gathers the adapter at its next checkpoint"
        )
        faults.add(str(path / ADAPTER_WEIGHTS), reason)
        return [path / ADAPTER_FILE]
    return [path / ADAPTER_FILE, path / ADAPTER_WEIGHTS]


def _model_files(path: Path, faults: Faults) -> list[Path]:
    try:
        if files := weight_files(path):
            return [path / CONFIG_FILE, *files]
    except ValueError as error:
        faults.add(str(path / INDEX_FILE), str(error))
        return []
    if not (path / SHARDS_TAG_FILE).is_file():
        faults.add(str(path), f"holds neither {WEIGHTS_FILE} nor DeepSpeed's {SHARDS_TAG_FILE}")
        return []
    tag = (path / SHARDS_TAG_FILE).read_text(encoding="utf-8").strip()
    shards = sorted((path / tag).glob("*_states.pt"))
    if any(shard.name.startswith("layer_") for shard in shards):
        reason = "holds a pipeline's layers, each in files of its own (layer_*_states.pt): such"
        faults.add(str(path / tag), f"{reason} checkpoints are not read")
    elif not shards:
        faults.add(str(path / tag), "holds no ZeRO shards (*_states.pt)")
    return [path / CONFIG_FILE, *shards]


def _find_empty(file: Path, faults: Faults) -> None:
    """Notes an adapter without tensors or with empty ones, which peft would load as no adapter.

    A rank of ZeRO-3 holds tensors of no elements outside a gather; what is saved then looks whole.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stream:
            names = list(stream.keys())
            shapes = {name: stream.get_slice(name).get_shape() for name in names}
            broken = [name for name in names if stream.get_tensor(name).isnan().any()]
    except (SafetensorError, OSError) as error:
        faults.add(str(file), f"cannot be read: {error}")
        return
    empty = sorted(name for name, shape in shapes.items() if 0 in shape)
    if not shapes:
        faults.add(str(file), "holds no tensors: the adapter was not gathered from its ranks")
    if empty:
        reason = f"{len(empty)} of its {len(shapes)} tensors are empty ({empty[0]}, …): the adapter"
        faults.add(str(file), f"{reason} was not gathered from its ranks")
    if broken:
        faults.add(str(file), f"holds NaN in {broken[0]}")
