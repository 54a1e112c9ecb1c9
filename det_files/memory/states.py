"""Model states on one rank: weights, gradients, optimizer, and ZeRO's buffers, at five moments.

ZeRO divides the optimizer's states by the ranks from stage 1 on, gradients from stage 2 on and
weights in stage 3 (Rajbhandari et al. 2019, arXiv:1910.02054); what lies beside that for a moment
follows DeepSpeed 0.19.8's source (runtime/zero/stage_1_and_2.py, stage3.py) and was compared with
it (docs/memory.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from det_files.memory.optimizers import flat_state_bytes, state_bytes
from det_files.memory.runs import Run
from det_files.memory.shape import ModelShape
from det_files.memory.zero import Zero

# loss: the end of the forward pass; head: the output layer is differentiated; backward: the last
# layer is; reduced: the backward pass ends; step: the optimizer's.
MOMENTS = ("loss", "head", "backward", "reduced", "step")
_EARLY = ("loss", "head", "backward")
# DeepSpeed takes a gradient's norm of a copy in float64 (zero/utils.py: get_norm_dtype).
_NORM_BYTES = 8


@dataclass(frozen=True)
class States:
    """Bytes on the device at one moment."""

    weights: float
    gradients: float
    optimizer: float
    buffers: float


def states_at(moment: str, shape: ModelShape, run: Run) -> States:
    """What one rank holds at a moment, activations aside."""
    if run.zero.stage is None or (run.zero.stage == 0):
        found = _unpartitioned(moment, shape, run)
    elif run.zero.stage == 3:
        found = _stage_3(moment, shape, run)
    else:
        found = _stages_1_and_2(moment, shape, run)
    return replace(
        found,
        gradients=found.gradients + _head_gradient(moment, shape, run),
        buffers=found.buffers
        + shape.buffer_bytes
        + run.workspaces
        + _dequantized(moment, shape, run),
    )


def _dequantized(moment: str, shape: ModelShape, run: Run) -> int:
    """Bytes of the weight that a layer in 4 bits multiplies with, made for the moment."""
    largest = max((p.elements for p in shape.parameters if p.quantized), default=0)
    return largest * run.precision.frozen if moment in ("loss", "backward") else 0


def _head_gradient(moment: str, shape: ModelShape, run: Run) -> float:
    """Bytes of a trained output layer's gradient, where no other part counts it.

    It is the first to be made. A table that is the embeddings', too, gets a second one at the end
    of the backward pass, and autograd keeps the first until then.
    """
    if not shape.head.trained or moment not in ("backward", "reduced"):
        return 0.0
    partitioned = run.zero.stage in (2, 3)
    if not shape.head.tied and (partitioned or moment == "reduced"):
        return 0.0
    return float(shape.head.vocabulary * shape.head.hidden * run.precision.trained)


def resting_states(shape: ModelShape, run: Run) -> States:
    """What lies on one rank between steps, before gradients are made."""
    step = states_at("step", shape, run)
    zero, buffers = run.zero, float(shape.buffer_bytes + run.workspaces)
    gradients = 0.0
    if zero.stage == 3 and zero.offload_optimizer == "none":
        gradients = partition(shape.trained, run.slots) * float(run.precision.trained)
    if zero.stage in (1, 2) and zero.offload_optimizer != "none":
        buffers += shape.largest_trained * run.precision.trained
    if run.copies_gradients:
        buffers += shape.trained * run.precision.trained
    return States(step.weights, gradients, step.optimizer, buffers)


def partition(elements: int, slots: int) -> int:
    """Elements of one rank's part, padded so that all parts are equal."""
    return math.ceil(elements / slots)


def _unpartitioned(moment: str, shape: ModelShape, run: Run) -> States:
    """Each rank holds all: no DeepSpeed, or its stage 0."""
    kind, trained = run.precision, shape.trained
    weights = trained * kind.trained + shape.frozen_bytes(kind.frozen)
    whole = trained * kind.trained
    # They were set to None; a first micro-batch makes them on its way back.
    fresh = moment in _EARLY and run.accumulation == 1
    gradients = 0.0 if fresh else float(whole)
    copies = _cast_elements(shape) * kind.copies
    if moment == "backward" and run.checkpointing:
        copies //= max(1, shape.layers)  # made again, a layer at a time
    weights += copies if moment in _EARLY else 0
    trained_parameters = tuple(p for p in shape.parameters if p.trained)
    optimizer = state_bytes(run.optimizer, trained_parameters)
    if run.zero.stage == 0 and kind.masters:
        optimizer += 4 * trained
    buffers = float(whole) if run.copies_gradients else 0.0
    if moment == "step" and run.foreach:
        buffers += 4 * trained  # torch.optim: "foreach uses ~ sizeof(params) more peak memory"
    return States(weights, gradients, optimizer, buffers)


def _cast_elements(shape: ModelShape) -> int:
    """Elements of trained matrices that autocast copies; tables of tokens are looked up in, and the
    output layer's copy is made with its loss."""
    return sum(
        p.total for p in shape.parameters if p.trained and len(p.shape) > 1 and p.part == "body"
    )


def _stages_1_and_2(moment: str, shape: ModelShape, run: Run) -> States:
    zero, kind, trained = run.zero, run.precision, shape.trained
    part = partition(trained, run.slots)
    width = kind.trained
    weights = trained * width + shape.frozen_bytes(kind.frozen)
    offloaded = zero.offload_optimizer != "none"
    optimizer = 0.0 if offloaded else 4 * part + flat_state_bytes(run.optimizer, part)
    # temp_grad_buffer_for_gpu_offload
    buffers = float(shape.largest_trained * width) if offloaded else 0.0
    accumulated = run.accumulation > 1
    gradients = 0.0
    if zero.stage == 1:
        if moment in _EARLY:
            gradients = trained * width if accumulated else 0
        elif moment == "reduced":
            gradients = trained * width + (0 if offloaded else part * width)
    elif not offloaded:
        if moment in _EARLY:
            gradients = part * width if accumulated else 0
        elif moment == "reduced":
            gradients = part * width * (2 if accumulated else 1)
    norm = _NORM_BYTES * min(shape.largest_trained, part)
    if moment == "step" and not offloaded:
        # The partition and a copy for its norm; or its flat copy and that in float32 (a float32 one
        # is not copied).
        gradients = max(part * width + norm, part * (2 * width + (4 if width < 4 else 0)))
    if moment in ("backward", "reduced"):
        buffers += zero.buckets * zero.reduce_bucket * width
    if moment == "reduced":
        buffers += _on_its_way(shape, run) * width + (norm if offloaded else 0)
    return States(weights, float(gradients), optimizer, buffers)


def _on_its_way(shape: ModelShape, run: Run) -> int:
    """Elements of gradients between a parameter and its rank (reduce_ipg_grads).

    One that is larger than a bucket is reduced where it is. Others are copied into the bucket, of
    which slices for several ranks are sent as one flat copy (allreduce_bucket).
    """
    zero, largest = run.zero, shape.largest_trained
    made = largest if run.zero.stage == 2 else 0  # stage 1 has all gradients already
    if largest > zero.reduce_bucket:
        return made
    return made + (min(zero.reduce_bucket, shape.trained) if run.slots > 1 else 0)


def _stage_3(moment: str, shape: ModelShape, run: Run) -> States:
    zero, kind, slots = run.zero, run.precision, run.slots
    width = kind.trained
    part = partition(shape.trained, slots)
    persistent, others = persistence(shape, run)
    weights = 0.0 if zero.offload_param != "none" else part * width
    if zero.offload_param == "none":
        weights += shape.frozen_bytes(kind.frozen) / slots
    # Small parameters are kept whole beside their partitions; one rank's partition is the whole.
    weights += persistent * width if slots > 1 or zero.offload_param != "none" else 0
    offloaded = zero.offload_optimizer != "none"
    optimizer = 0.0 if offloaded else 4 * part + flat_state_bytes(run.optimizer, part)
    gradients = 0.0 if offloaded else float(part * width)
    buffers = float(zero.reduce_bucket * width)
    if moment == "step":
        if not offloaded:
            group = min(part, zero.sub_group)
            norm = _NORM_BYTES * partition(shape.largest_trained, slots)
            gradients += max(norm, group * (4 if width == 4 else width + 4))
        return States(weights, gradients, optimizer, buffers)
    if slots > 1 or zero.offload_param != "none":
        buffers += gathered(others, shape.largest_module, zero) * width
    if moment == "reduced":
        buffers += min(zero.reduce_bucket, shape.trained) * width / slots
        buffers += shape.largest_trained * width
    return States(weights, gradients, optimizer, buffers)


def persistence(shape: ModelShape, run: Run) -> tuple[int, int]:
    """(elements of parameters that stage 3 never parts with, those of all others)."""
    small = sum(p.total for p in shape.parameters if p.elements <= run.zero.persistence_threshold)
    return small, shape.trained + shape.frozen - small


def gathered(elements: int, largest_module: int, zero: Zero) -> int:
    """Elements of whole weights on a rank at most, once the order of modules is known.

    At the end of the forward pass a weight is kept if the backward pass needs it again within
    max_reuse_distance elements, there and back (partitioned_param_coordinator.py).
    """
    near = zero.max_reuse_distance // 2
    return min(elements, near + zero.prefetch_bucket + largest_module)
