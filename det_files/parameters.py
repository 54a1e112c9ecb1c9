"""What the parameters of a model in training are: how many, which trained, of which dtype."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any

import torch
from transformers import TrainerCallback

from det_files.quantization import is_quantized

logger = logging.getLogger(__name__)


def parameter_size(parameter: torch.nn.Parameter) -> int:
    """Elements of a parameter: of a partitioned one (ZeRO-3) those of all ranks, of a quantised one
    its weights, of which a byte holds two."""
    if is_quantized(parameter):
        return int(parameter.quant_state.shape.numel())  # type: ignore[attr-defined]
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def describe_parameters(model: torch.nn.Module) -> dict[str, dict[str, int]]:
    """{"trained": {dtype: elements}, "frozen": {dtype: elements}}; nf4 stands for a dtype, too."""
    counts: dict[str, Counter[str]] = {"trained": Counter(), "frozen": Counter()}
    for parameter in model.parameters():
        dtype = str(parameter.dtype).removeprefix("torch.")
        if is_quantized(parameter):
            dtype = parameter.quant_state.quant_type  # type: ignore[attr-defined]
        counts["trained" if parameter.requires_grad else "frozen"][dtype] += parameter_size(
            parameter
        )
    return {kind: dict(counter) for kind, counter in counts.items()}


class ParameterReport(TrainerCallback):
    """Logs the description once training has begun: DeepSpeed casts and partitions before that."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logger.info("parameters: %s", json.dumps(describe_parameters(kwargs["model"])))
