"""A trial's module whose passes need memory that the machine does not have.

Started in place of the module that OOM_MODULE names (default det_files.run_clm), and steered by the
environment:

    OOM_HOW    torch: what a GPU's allocator raises; allocator: the CPU's refuses an impossible
               size; limit: the CPU's refuses, row by row, what is beyond the process's limit
    OOM_IN     training (default) or evaluation
    OOM_ROWS   the most rows of a pass that there is memory for (not with limit)
    OOM_STEP   the first optimizer step that needs so much (default 1)
    OOM_RANK   the rank that does (default: every one)
"""

from __future__ import annotations

import importlib
import os
import resource
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import Trainer

from det_files.faults import exit_on_config_error
from det_files.trainer import TokenTrainer

BYTES_A_ROW = 300 << 20  # reserved, never touched
BYTES_FREE = 2 << 30  # under the limit: six rows, with room for all else
CUDA_TEXT = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB"
)


def setting(name: str, default: str) -> str:
    return os.environ.get(f"OOM_{name}", default)


def needs(trainer: Trainer, rows: int) -> torch.Tensor | None:
    """What a pass of so many rows holds; fails as the settings say."""
    how, rank = setting("HOW", "torch"), int(os.environ.get("RANK", "0"))
    if setting("RANK", str(rank)) != str(rank):
        return None
    if trainer.state.global_step + 1 < int(setting("STEP", "1")):
        return None
    if how == "limit":
        return torch.empty(rows * BYTES_A_ROW, dtype=torch.uint8)
    if rows > int(setting("ROWS", "1")):
        if how == "torch":
            raise torch.OutOfMemoryError(CUDA_TEXT)
        torch.empty(1 << 50, dtype=torch.uint8)
    return None


def limit_memory() -> None:
    """Leaves the process so much address space beside what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES_FREE, resource.RLIM_INFINITY))


def main() -> None:
    evaluating = setting("IN", "training") == "evaluation"
    # TRL's trainers have neither of TokenTrainer's methods; all of them come through this one.
    owner, name = (TokenTrainer, "prediction_step") if evaluating else (Trainer, "training_step")
    original, run_epoch = getattr(owner, name), Trainer._run_epoch

    def hungry(self: Trainer, model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> Any:
        first = next(value for key, value in inputs.items() if torch.is_tensor(value))
        held = needs(self, len(first))
        try:
            return original(self, model, inputs, *more, **named)
        finally:
            del held

    def limited(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        if setting("HOW", "torch") == "limit":
            limit_memory()
        return run_epoch(self, *args, **kwargs)

    with mock.patch.object(owner, name, hungry), mock.patch.object(Trainer, "_run_epoch", limited):
        importlib.import_module(setting("MODULE", "det_files.run_clm")).main()


if __name__ == "__main__":
    exit_on_config_error(main)
