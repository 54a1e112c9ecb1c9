"""The random numbers of stochastic rounding: the same on all ranks, and after a resume."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback


class SameRounding(TrainerCallback):
    """Draws each optimizer step's roundings from the run's seed and the step's number.

    Ranks whose generators differ (by dropout, say) would round the same weights apart; the
    generator is put back behind the step, so that nothing else is drawn differently.
    """

    def __init__(self) -> None:
        self._kept: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        self._kept = (torch.get_rng_state(), devices)
        torch.manual_seed((args.seed * 1_000_003 + state.global_step) % 2**63)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._kept is not None:
            host, devices = self._kept
            torch.set_rng_state(host)
            if devices:
                torch.cuda.set_rng_state_all(devices)
            self._kept = None
