"""The DeepSpeed configuration: read, merged in memory, and what it says.

A file under ds_configs/ knows ZeRO and nothing else; batch, precision and clipping are "auto" and
filled from TrainingArguments by transformers. Nothing is ever rewritten on disk.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from det_files.faults import ConfigError, Fault
from det_files.schema import show

PATH = "hyperparameters.deepspeed_config"
AUTO_SECTIONS: dict[str, Any] = {
    "fp16": {"enabled": "auto"},
    "bf16": {"enabled": "auto"},
    "gradient_clipping": "auto",
    "gradient_accumulation_steps": "auto",
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
}
# Batch sizes of the configuration -> the training arguments that say the same.
BATCH_ARGUMENTS = {
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
}


@dataclass(frozen=True)
class BatchSizes:
    """Rows in one optimizer step: micro_batch x accumulation x slots = global_batch."""

    micro_batch: int
    accumulation: int
    slots: int

    @property
    def global_batch(self) -> int:
        return self.micro_batch * self.accumulation * self.slots


def load_deepspeed_config(path: Path, shown: str | None = None) -> dict[str, Any]:
    """Returns the JSON file as a mapping.

    Raises:
        ConfigError: the file is absent, is no JSON (file, line, column), has a key twice, or holds
            no mapping.
    """
    shown = shown or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.json"))) or "none"
        reason = f"{shown}: {error.strerror}; JSON files beside it: {near}"
        raise ConfigError(Fault(PATH, reason)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Fault(PATH, f"{shown} is not UTF-8 text: {error.reason}")) from error

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigError(Fault(PATH, f"{shown}: found twice: {', '.join(twice)}"))
        return mapping

    try:
        config = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        reason = f"{shown}, line {error.lineno}, column {error.colno}: {error.msg}"
        raise ConfigError(Fault(PATH, reason)) from error
    if not isinstance(config, dict):
        raise ConfigError(Fault(PATH, f"{shown}: expected a mapping, got {show(config)}"))
    return config


def merge(base: Mapping[str, Any], overwrite: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping: `overwrite` laid over `base`, mappings merged deeply, all else replaced."""
    merged = copy.deepcopy(dict(base))
    for key, value in overwrite.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping with every section that transformers fills present as "auto".

    Without them the engine would keep DeepSpeed's own defaults (float32, no clipping), unseen.
    """
    completed = merge(AUTO_SECTIONS, config)
    # One line a step from every rank is noise beside our own metrics.
    completed.setdefault("steps_per_print", 2**31)
    return completed


def overwritten_batch(overwrite: Mapping[str, Any]) -> dict[str, int]:
    """Training arguments that `overwrite_deepspeed_args` sets: its batch sizes win over theirs.

    A search over the DeepSpeed configuration writes them there, over a file made for training;
    Determined's DeepSpeed Autotune (`get_hf_args_with_overwrites`) does the same to flags.
    """
    sizes = {BATCH_ARGUMENTS[key]: overwrite.get(key) for key in BATCH_ARGUMENTS}
    return {k: v for k, v in sizes.items() if isinstance(v, int) and v > 0 and v is not True}


def zero_stage(config: Mapping[str, Any] | None) -> int:
    """The ZeRO stage, 0 for none."""
    section = (config or {}).get("zero_optimization")
    stage = section.get("stage", 0) if isinstance(section, Mapping) else 0
    return stage if isinstance(stage, int) else 0


def offload_device(config: Mapping[str, Any] | None, what: str) -> str:
    """Where `what` ("optimizer" or "param") is offloaded to: none, cpu or nvme."""
    section = ((config or {}).get("zero_optimization") or {}).get(f"offload_{what}") or {}
    return str(section.get("device", "none")) if isinstance(section, Mapping) else "none"


def nvme_paths(config: Mapping[str, Any] | None) -> list[str]:
    """The directories that NVMe offload writes to, without repetition."""
    zero = (config or {}).get("zero_optimization") or {}
    sections = [zero.get("offload_optimizer") or {}, zero.get("offload_param") or {}]
    return sorted({s.get("nvme_path", "") for s in sections if s.get("device") == "nvme"})


def nvme_needs(config: Mapping[str, Any]) -> str:
    """What a machine must have for NVMe offload, as one sentence; empty where nothing is."""
    paths = ", ".join(nvme_paths(config))
    if not paths:
        return ""
    return (
        f"NVMe offload needs a local NVMe drive writable at {paths} in every container "
        "(bind_mounts) and libaio with its headers (apt install libaio-dev) in the image"
    )
