"""What fits into a device's memory: this run, its largest micro-batch, its fewest slots."""

from __future__ import annotations

import dataclasses
from typing import Any

from det_files.args import RunArgs
from det_files.memory.estimate import estimate_run
from det_files.memory.runs import checkpoints_activations
from det_files.memory.shape import ModelShape
from det_files.memory.table import show_bytes

_MOST_SLOTS = 4096
_MOST_ROWS = 1 << 16


def fitting(shape: ModelShape, args: RunArgs, memory_bytes: int) -> dict[str, Any]:
    """Whether the run fits, and what would, with activation checkpointing and without."""
    needed = estimate_run(shape, args).needed_bytes
    chosen = checkpoints_activations(args)
    found: dict[str, Any] = {
        "memory_bytes": memory_bytes,
        "needed_bytes": needed,
        "fits": needed <= memory_bytes,
        "slots": args.facts.slots,
        "checkpointing": chosen,
    }
    for checkpointing in (chosen, not chosen):
        key = "with_checkpointing" if checkpointing else "without_checkpointing"
        other = _with_checkpointing(args, checkpointing)
        found[key] = {
            "largest_micro_batch": largest_micro_batch(shape, other, memory_bytes),
            "fewest_slots": fewest_slots(shape, other, memory_bytes),
        }
    return found


def _with_checkpointing(args: RunArgs, checkpointing: bool) -> RunArgs:
    training = {k: v for k, v in args.training.items() if k != "gradient_checkpointing"}
    return dataclasses.replace(
        args, training=training | {"activation_checkpointing": checkpointing}
    )


def largest_micro_batch(
    shape: ModelShape, args: RunArgs, gpu_memory_bytes: int, slots: int | None = None
) -> int:
    """Rows (or blocks) of the largest micro-batch that fits; 0 where not even one does."""

    def fits(rows: int) -> bool:
        return estimate_run(shape, args, slots, rows).needed_bytes <= gpu_memory_bytes

    if not fits(1):
        return 0
    low, high = 1, 2
    while high < _MOST_ROWS and fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def fewest_slots(
    shape: ModelShape, args: RunArgs, gpu_memory_bytes: int, micro_batch: int | None = None
) -> int | None:
    """The fewest ranks on which it fits; None where no number of them is enough."""

    def fits(slots: int) -> bool:
        return estimate_run(shape, args, slots, micro_batch).needed_bytes <= gpu_memory_bytes

    # One rank gathers nothing and can need less than two; from there on more need less each.
    if fits(1):
        return 1
    if not fits(_MOST_SLOTS):
        return None
    low, high = 1, _MOST_SLOTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def show_fitting(found: dict[str, Any]) -> str:
    """A line on this run, and one for checkpointing and its absence."""
    memory, needed = show_bytes(found["memory_bytes"]), show_bytes(found["needed_bytes"])
    relation = "fits into" if found["fits"] else "does not fit into"
    lines = ["", f"{needed} {relation} {memory}"]
    for key in ("with_checkpointing", "without_checkpointing"):
        largest, fewest = found[key]["largest_micro_batch"], found[key]["fewest_slots"]
        batch = f"largest micro-batch {largest}" if largest else "no micro-batch fits"
        slots = f"fewest slots {fewest}" if fewest else "no number of slots is enough"
        lines.append(
            f"  {key.replace('_', ' activation ')}: {batch} on {found['slots']} slots; {slots}"
        )
    return "\n".join(lines)
