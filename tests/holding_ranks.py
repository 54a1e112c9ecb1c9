"""A trial's module that also writes down what its ranks hold when training has ended.

Started as `run_clm`, by `run_jobs` (tests/conftest.py): the trial directory then has held.pt, the
trained tensors as gathered from the ranks of ZeRO-3, and the logits of the ranks' own forward pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import torch

from det_files import run_clm
from det_files.trainer import TokenTrainer

HELD_FILE = "held.pt"
IDS = torch.arange(4, 84)[None]


def main() -> None:
    train = TokenTrainer.train

    def train_and_hold(self: TokenTrainer, *args: Any, **kwargs: Any) -> Any:
        done = train(self, *args, **kwargs)
        _hold(self, Path(self.args.output_dir).parent)
        return done

    with mock.patch.object(TokenTrainer, "train", train_and_hold):
        run_clm.main()


def _hold(trainer: TokenTrainer, trial: Path) -> None:
    import deepspeed

    model: Any = trainer.model
    tensors = {}
    elements = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            elements += parameter.numel()  # none, where each rank holds a part
            with deepspeed.zero.GatheredParameters([parameter]):
                tensors[name] = parameter.detach().clone()
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=IDS).logits
    if trainer.args.process_index == 0:
        held = {"tensors": tensors, "logits": logits, "elements_between_uses": elements}
        torch.save(held, trial / HELD_FILE)
