"""The machine and versions that a measurement was made with, and what it can compute in."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")
# Words of /proc/cpuinfo by which products are fast or slow: vectors, and bfloat16's arithmetic.
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def describe() -> dict[str, Any]:
    """CPU, cores, memory, GPU, versions, commit, date and command of this run."""
    model, flags = _cpu()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
    }


def has_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 itself; emulated, it is slower than float32."""
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(_BFLOAT16_FLAGS & _cpu()[1])


def cpu_seconds() -> float:
    """Processor time of this process, its threads and the children it has waited for.

    On a machine that others use too it says more than the clock does.
    """
    return sum(os.times()[:4])


def _cpu() -> tuple[str, set[str]]:
    """(the CPU's name, its flags) by /proc/cpuinfo."""
    values: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    return values.get("model name", platform.machine()), set(values.get("flags", "").split())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """What a command prints; None where it is not there or fails."""
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
