"""Activations of a micro-batch, with checkpointing and without, from what layers hold.

Without checkpointing a model keeps what each of its layers saves; with it, each layer's input, and
one layer is computed again at a time (Korthikanti et al. 2022, arXiv:2205.05198, in closed form for
one architecture; here traced for each).
"""

from __future__ import annotations

from dataclasses import dataclass

from det_files.memory.shape import Trace


@dataclass(frozen=True)
class Activations:
    """Bytes on the device.

    - kept: from the forward pass until the backward pass needs them;
    - forward, backward: beside them while one layer is computed, or differentiated;
    - host: in host memory, where activations are offloaded.
    """

    kept: float
    forward: float
    backward: float
    host: float = 0.0


def activations_of(
    trace: Trace, rows: int, checkpointing: bool, offloading: bool = False
) -> Activations:
    """What a micro-batch of `rows` rows keeps."""
    kept = trace.outside.at(rows)
    forward = backward = largest = 0.0
    for stack in trace.stacks:
        layer = stack.layer
        saved, held = layer.saved.at(rows), layer.backward.at(rows)
        one = layer.kept.at(rows) if checkpointing else saved
        kept += stack.count * one
        largest = max(largest, one)
        # With checkpointing, all that a layer saves is made again before it is differentiated.
        backward = max(backward, saved + held if checkpointing else held)
        forward = max(forward, layer.forward.at(rows) + (saved if checkpointing else 0))
    if not offloading:
        return Activations(kept, forward, backward)
    # What was moved comes back a layer at a time.
    return Activations(min(kept, largest), forward, backward, kept)
