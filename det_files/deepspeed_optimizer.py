"""`optimizer` and `scheduler` of a DeepSpeed configuration against the training arguments.

Without these sections, which our own files do not have, transformers makes both, as it does without
DeepSpeed. With them DeepSpeed does, and the training arguments of the same meaning are not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from det_files.deepspeed_config import PATH, offload_device
from det_files.faults import Faults

TRAINING = "hyperparameters.training_arguments"
# What DeepSpeed's Adam and AdamW are.
# DeepSpeed's FusedAdam and DeepSpeedCPUAdam.
_OWN_ADAM = {"lr": 1e-3, "weight_decay": 0.0, "eps": 1e-8, "betas": [0.9, 0.999]}
_SAME = ("adamw_torch", "adamw_torch_fused")


def check_optimizer(config: Mapping[str, Any], training: Mapping[str, Any], faults: Faults) -> None:
    """Notes what of an `optimizer` section, or of offloading, disagrees with the arguments."""
    given = _section(config, "optimizer")
    chosen = training.get("optim", _SAME[0])
    if given is None:
        _check_offloading(config, str(chosen), faults)
        return
    if chosen not in _SAME:
        _add_unread(f"{PATH}.optimizer", f"optim {chosen}", faults)
    betas = [training.get("adam_beta1", 0.9), training.get("adam_beta2", 0.999)]
    expected = {
        "lr": ("learning_rate", training.get("learning_rate", 5e-5)),
        "weight_decay": ("weight_decay", training.get("weight_decay", 0.0)),
        "eps": ("adam_epsilon", training.get("adam_epsilon", 1e-8)),
        "betas": ("adam_beta1 and adam_beta2", betas),
    }
    # What is not said is DeepSpeed's own, and transformers fills in "auto" alone.
    _compare(f"{PATH}.optimizer.params", _OWN_ADAM | dict(given), expected, faults)


def _check_offloading(config: Mapping[str, Any], optim: str, faults: Faults) -> None:
    forced = config.get("zero_force_ds_cpu_optimizer", True)
    if offload_device(config, "optimizer") == "none" or not forced or optim in _SAME:
        return
    # accelerate (map_pytorch_optim_to_deepspeed) puts it there in silence, and for all but torch's
    # AdamW with weight decay as a part of the gradient.
    faults.add(
        f"{TRAINING}.optim",
        f"{optim} would be replaced by DeepSpeed's Adam in float32, as the optimizer is offloaded "
        "(zero_optimization.offload_optimizer); leave it out",
    )


def check_scheduler(config: Mapping[str, Any], training: Mapping[str, Any], faults: Faults) -> None:
    """Notes what of a `scheduler` section disagrees with the training arguments."""
    given = _section(config, "scheduler")
    if given is None:
        return
    if "lr_scheduler_type" in training:
        # Not even WarmupDecayLR is "linear": its warm-up is logarithmic unless told otherwise.
        chosen = f"lr_scheduler_type {training['lr_scheduler_type']}"
        _add_unread(f"{PATH}.scheduler", chosen, faults)
    expected = {"warmup_max_lr": ("learning_rate", training.get("learning_rate", 5e-5))}
    warmup, steps = training.get("warmup_steps", 0), training.get("max_steps", -1)
    if not all(isinstance(number, int | float) for number in (warmup, steps)):
        return  # noted already
    if steps > 0:
        expected["total_num_steps"] = ("max_steps", steps)
    if steps > 0 or not 0 < warmup < 1:
        # As TrainingArguments.get_warmup_steps counts, and transformers fills in: at least 1.
        count = math.ceil(steps * warmup) if warmup < 1 else int(warmup)
        expected["warmup_num_steps"] = ("warmup_steps, which makes", max(1, count))
    _compare(f"{PATH}.scheduler.params", given, expected, faults)


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The parameters of a section; None where there is no section."""
    section = config.get(name)
    if not isinstance(section, Mapping):
        return None
    params = section.get("params")
    return params if isinstance(params, Mapping) else {}


def _add_unread(path: str, argument: str, faults: Faults) -> None:
    reason = f"is what DeepSpeed uses, and training_arguments.{argument} would have no effect"
    faults.add(path, f"{reason}; leave one of them out")


def _compare(
    path: str,
    given: Mapping[str, Any],
    expected: Mapping[str, tuple[str, Any]],
    faults: Faults,
) -> None:
    for key, (source, wanted) in expected.items():
        if given.get(key, "auto") not in ("auto", wanted):
            faults.add(
                f"{path}.{key}",
                f"{json.dumps(given[key])} disagrees with training_arguments.{source} "
                f'{json.dumps(wanted)}; write "auto"',
            )
