"""det_files.run_clm on a machine that has memory for two rows of a forward pass, and no more."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch

from det_files.faults import exit_on_config_error
from det_files.run_clm import main
from det_files.trainer import TokenTrainer

ROWS = 2


def compute_loss(self: TokenTrainer, model: Any, inputs: dict[str, Any], *given: Any, **more: Any):
    if len(inputs["input_ids"]) > ROWS:
        torch.empty(1 << 50, dtype=torch.uint8)  # the CPU's allocator refuses it
    return whole(self, model, inputs, *given, **more)


whole = TokenTrainer.compute_loss

if __name__ == "__main__":
    with mock.patch.object(TokenTrainer, "compute_loss", compute_loss):
        exit_on_config_error(main)
