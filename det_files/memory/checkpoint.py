"""Bytes of a checkpoint: the model as it is exported, and what a resumed run needs beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from det_files.memory.optimizers import flat_state_bytes, state_bytes
from det_files.memory.runs import Run
from det_files.memory.shape import ModelShape


def checkpoint_bytes(shape: ModelShape, run: Run, adapter: bool) -> int:
    """Bytes of one checkpoint, of all ranks together.

    With an adapter it alone is saved. DeepSpeed's engine saves weights once more below stage 3
    (module states), and float32 masters with the optimizer's states of all ranks.
    """
    kind, trained = run.precision, shape.trained
    model = trained * kind.trained
    if not adapter:
        model += shape.frozen_bytes(kind.frozen)
    if run.zero.stage is None:
        parameters = tuple(p for p in shape.parameters if p.trained)
        return round(model + state_bytes(run.optimizer, parameters))
    states = 4 * trained + flat_state_bytes(run.optimizer, trained)
    return round(model + states + (model if run.zero.stage < 3 else 0))


def checkpoints_of(training: Mapping[str, Any]) -> int | None:
    """Checkpoints that a whole run writes; None where steps are not known beforehand."""
    steps = training.get("max_steps", -1)
    every = training.get("save_steps", 500)
    if training.get("save_strategy") == "no":
        return 0
    if training.get("save_strategy") != "steps" or not isinstance(steps, int) or steps <= 0:
        return None
    every = max(1, math.ceil(steps * every)) if every < 1 else int(every)
    return math.ceil(steps / every)  # the last step is saved, too
