"""The estimate as a table, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from det_files.faults import ConfigError, Fault
from det_files.memory.estimate import PARTS, Estimate
from det_files.memory.shape import ModelShape

_UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_LEAST = 2**20  # of a device's memory: less is a unit mistaken
_MEANINGS = {
    "weights": "all that the model is, trained and frozen",
    "gradients": "as they are at that moment",
    "optimizer": "its states, and float32 masters",
    "activations": "what the backward pass needs, and what a layer holds for a moment",
    "logits": "of the loss, with its gradients",
    "buffers": "ZeRO's buckets and gathered weights; DDP's buckets; cuBLAS's workspaces",
    "margin": "fragmentation and CUDA's own: an allowance",
}


def parse_bytes(text: str, where: str) -> int:
    """Bytes of a device's memory, written as `80GiB` or `40GB`.

    Raises:
        ConfigError: it is no such size, has no unit, or is below 1 MiB.
    """
    expected = "expected a size such as 80GiB or 40GB"
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", text)
    if match and not match[2]:
        written = f"{match[1]}GiB or {match[1]}GB"
        raise ConfigError(Fault(where, f"{expected}, got {text!r}: write its unit, {written}"))
    unit = match and match[2].upper()
    if not match or unit not in _UNITS:
        raise ConfigError(Fault(where, f"{expected}, got {text!r}"))
    size = round(float(match[1]) * _UNITS[str(unit)])
    if size < _LEAST:
        raise ConfigError(Fault(where, f"{expected}, got {text!r}, which is less than 1 MiB"))
    return size


def show_bytes(size: float) -> str:
    """`12.3 GiB`, in the largest unit that leaves at least 1."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def show_estimate(estimate: Estimate, shape: ModelShape) -> str:
    """The estimate, a part a line."""
    place = "host memory (no GPU)" if estimate.on_cpu else "device memory"
    lines = [
        f"{shape.name}: {_count(shape.trained)} of {_count(shape.trained + shape.frozen)} "
        f"parameters trained",
        f"{estimate.slots} slot{'s' * (estimate.slots != 1)}, micro-batch {estimate.micro_batch}, "
        f"rows of up to {_lengths(shape)} tokens",
        "",
        f"{place} of one rank at its peak ({_PEAKS[estimate.peak]})",
    ]
    for part in PARTS:
        if estimate.device[part]:
            lines.append(f"  {part:<12}{show_bytes(estimate.device[part]):>12}   {_MEANINGS[part]}")
    lines.append(f"  {'all':<12}{show_bytes(estimate.device_bytes):>12}")
    lines += [
        "",
        f"kept for the backward pass: {show_bytes(estimate.activations_without)}; with activation "
        f"checkpointing {show_bytes(estimate.activations_with_checkpointing)}",
        _host_line(estimate),
        _checkpoint_line(estimate),
        *(f"note: {note}" for note in estimate.notes),
    ]
    return "\n".join(lines)


def show_draw(draw: Mapping[str, Any]) -> str:
    """The line that says which of a search's values are counted, by their dotted names."""
    values = ", ".join(f"{name} {_short(value)}" for name, value in draw.items())
    return f"of the search one draw is counted: {values} (others: --set)"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_PEAKS = {
    "loss": "when the loss is computed",
    "head": "when the output layer is differentiated",
    "backward": "when the last layer is differentiated",
    "reduced": "when the backward pass ends",
    "step": "in the optimizer's step",
}


def _lengths(shape: ModelShape) -> str:
    lengths = shape.lengths
    return f"{lengths.row} + {lengths.target}" if lengths.target else str(lengths.row)


def _host_line(estimate: Estimate) -> str:
    parts = [
        f"{name} {show_bytes(estimate.host[name])}"
        for name in ("load", "offload", "activations")
        if estimate.host[name]
    ]
    whole = show_bytes(estimate.host_bytes * estimate.slots)
    return (
        f"host memory of one rank: {show_bytes(estimate.host_bytes)} ({', '.join(parts)}); of all "
        f"{estimate.slots}: {whole}"
    )


def _checkpoint_line(estimate: Estimate) -> str:
    line = f"a checkpoint: {show_bytes(estimate.checkpoint_bytes)}"
    if estimate.checkpoints:
        whole = show_bytes(estimate.checkpoint_bytes * estimate.checkpoints)
        line += f"; the {estimate.checkpoints} of the run: {whole}"
    return line


def _count(number: int) -> str:
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def estimate_dict(estimate: Estimate, shape: ModelShape) -> dict[str, Any]:
    """Plain mappings of everything, bytes as numbers."""
    return {
        "model": shape.name,
        "parameters": shape.trained + shape.frozen,
        "trained": shape.trained,
        "slots": estimate.slots,
        "micro_batch": estimate.micro_batch,
        "row_tokens": shape.lengths.row,
        "target_tokens": shape.lengths.target,
        "peak": estimate.peak,
        "device": dict(estimate.device),
        "device_bytes": estimate.device_bytes,
        "moments": dict(estimate.moments),
        "resting": dict(estimate.resting),
        "host": dict(estimate.host),
        "host_bytes": estimate.host_bytes,
        "checkpoint_bytes": estimate.checkpoint_bytes,
        "checkpoints": estimate.checkpoints,
        "activations_with_checkpointing": estimate.activations_with_checkpointing,
        "activations_without": estimate.activations_without,
        "on_cpu": estimate.on_cpu,
        "notes": list(estimate.notes),
    }
