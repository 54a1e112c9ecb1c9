"""The estimate of a run's memory: device and host memory of one rank, bytes of a checkpoint.

    shape = read_shape(args)                     # once for a model and tuning method; seconds
    estimate_run(shape, args).device_bytes       # arithmetic; for any stage, slots, micro-batch

The peak is the largest of five moments (states.MOMENTS): parts are those of that moment, so that
they add up to it. `margin` is an allowance, not a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from det_files.args import RunArgs
from det_files.memory.activations import Activations, activations_of
from det_files.memory.checkpoint import checkpoint_bytes, checkpoints_of
from det_files.memory.host import load_bytes, offload_bytes
from det_files.memory.logits import Logits, logits_of
from det_files.memory.optimizers import is_known
from det_files.memory.reading import read_shape
from det_files.memory.runs import Run, batch_sizes, run_of
from det_files.memory.shape import BYTES, ModelShape, Trace
from det_files.memory.states import MOMENTS, States, resting_states, states_at
from det_files.models import PREFERENCE, SEQ2SEQ

__all__ = ["Estimate", "estimate_run", "read_shape"]

GIBIBYTE = 2**30
PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "buffers", "margin")
# Fragmentation of the caching allocator, as a share of all else; and what lies beside what torch
# allocates: the CUDA context, NCCL's buffers (1.7 GiB on an H200 with torch 2.11). The allocator
# reserved 4 to 33 % more than the peak there, where memory was plenty (docs/memory.md).
MARGIN_SHARE = 0.05
MARGIN_BYTES = 2 * GIBIBYTE
# Rows that a preference method puts through the model for each of its items.
_ROWS_PER_ITEM = {"dpo": 2, "orpo": 2, "reward": 2, "kto": 1, "grpo": 1}


@dataclass(frozen=True)
class Estimate:
    """Bytes of one rank. `device` and `host` are by part; `device` is that of the moment `peak`.

    - moments: the device's bytes at each moment, margin included;
    - resting: model states between steps (weights, gradients, optimizer, buffers);
    - activations_with_checkpointing, activations_without: what the micro-batch would keep;
    - checkpoint_bytes: one checkpoint, of all ranks; checkpoints: how many the run writes.

    On a CPU what would lie on the device lies in host memory, and is a part of `host`.
    """

    slots: int
    micro_batch: int
    peak: str
    device: Mapping[str, int]
    moments: Mapping[str, int]
    resting: Mapping[str, int]
    host: Mapping[str, int]
    checkpoint_bytes: int
    checkpoints: int | None
    activations_with_checkpointing: int
    activations_without: int
    on_cpu: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def device_bytes(self) -> int:
        """The peak on one rank's device."""
        return sum(self.device.values())

    @property
    def host_bytes(self) -> int:
        """The peak in host memory, of one rank: loading, or what stays there while it trains."""
        training = sum(size for part, size in self.host.items() if part != "load")
        return max(self.host["load"], training)

    @property
    def needed_bytes(self) -> int:
        """The peak of one rank where it computes: on its device, on a CPU in host memory."""
        return self.host_bytes if self.on_cpu else self.device_bytes

    @property
    def resting_bytes(self) -> int:
        """Model states between steps."""
        return sum(self.resting.values())


def estimate_run(
    shape: ModelShape,
    args: RunArgs,
    slots: int | None = None,
    micro_batch: int | None = None,
) -> Estimate:
    """The memory of a run of `args` on `slots` ranks with `micro_batch` rows or blocks each.

    Both default to the arguments' own. Pure arithmetic: nothing is read.
    """
    sizes = batch_sizes(args)
    slots, micro_batch = slots or sizes.slots, micro_batch or sizes.micro_batch
    run = run_of(args, shape, slots)
    rows = micro_batch * _rows_per_item(args)
    packed = bool(args.data.packing) and shape.packs
    traces = (shape.plain,) if rows == 1 or packed else (shape.plain, shape.padded)
    logits = _logits(shape, args, rows)
    offloading = args.model.activation_offloading
    activations = _largest(traces, rows, run.checkpointing, offloading)
    on_cpu = shape.device == "cpu"
    by_moment = {
        moment: _parts(moment, shape, run, activations, logits, _reference(shape, args, run))
        for moment in MOMENTS
    }
    if not on_cpu:
        by_moment = {moment: _with_margin(parts) for moment, parts in by_moment.items()}
    moments = {moment: sum(parts.values()) for moment, parts in by_moment.items()}
    peak = max(moments, key=lambda moment: moments[moment])
    resting = resting_states(shape, run)
    return Estimate(
        slots=slots,
        micro_batch=micro_batch,
        peak=peak,
        device=by_moment[peak],
        moments=moments,
        resting=_state_parts(resting, _reference(shape, args, run)),
        host=_host(shape, run, activations, moments[peak] if on_cpu else 0, on_cpu),
        checkpoint_bytes=checkpoint_bytes(shape, run, args.tuning.method != "full"),
        checkpoints=checkpoints_of(args.training),
        activations_with_checkpointing=round(_largest(traces, rows, True).kept),
        activations_without=round(_largest(traces, rows, False).kept),
        on_cpu=on_cpu,
        notes=(*shape.notes, *_notes(args, run)),
    )


def _largest(
    traces: Sequence[Trace], rows: int, checkpointing: bool, offloading: bool = False
) -> Activations:
    """The most of each, of batches with padding and without: with it there is a mask, without it
    another kernel of attention may run, which keeps more (meta_mode.py)."""
    found = [activations_of(trace, rows, checkpointing, offloading) for trace in traces]
    names = [field.name for field in fields(Activations)]
    return Activations(**{name: max(getattr(one, name) for one in found) for name in names})


def _rows_per_item(args: RunArgs) -> int:
    return _ROWS_PER_ITEM.get(args.preference.method, 1) if args.preference else 1


def _logits(shape: ModelShape, args: RunArgs, rows: int) -> Logits:
    lengths, width = shape.lengths, BYTES[args.model.dtype]
    positions = lengths.target if args.facts.kind == SEQ2SEQ else lengths.row
    return logits_of(shape.head, rows * positions, rows * lengths.supervised, width, shape.device)


def _reference(shape: ModelShape, args: RunArgs, run: Run) -> float:
    """Bytes of the second, frozen model of a preference method (preference/reference.py)."""
    preference = args.preference
    if preference is None or preference.method not in ("dpo", "kto", "grpo"):
        return 0.0
    if args.tuning.method != "full" or preference.options.get("precompute_ref_log_probs"):
        return 0.0
    whole = shape.trained * run.precision.frozen
    return whole / run.slots if run.zero.stage == 3 else float(whole)


def _parts(
    moment: str,
    shape: ModelShape,
    run: Run,
    activations: Activations,
    logits: Logits,
    reference: float,
) -> dict[str, int]:
    states = states_at(moment, shape, run)
    held = loss = 0.0
    if moment == "loss":
        held, loss = activations.kept, logits.loss
        if activations.forward > loss:  # a layer's own peak, in the last of them
            held, loss = held + activations.forward, 0.0
    elif moment == "head":
        held, loss = activations.kept, logits.backward
    elif moment == "backward":
        held = activations.kept + activations.backward
    elif moment == "reduced":
        held = activations.backward
    found = _state_parts(states, reference)
    return found | {"activations": round(held), "logits": round(loss), "margin": 0}


def _state_parts(states: States, reference: float) -> dict[str, int]:
    return {
        "weights": round(states.weights + reference),
        "gradients": round(states.gradients),
        "optimizer": round(states.optimizer),
        "buffers": round(states.buffers),
    }


def _with_margin(parts: Mapping[str, int]) -> dict[str, int]:
    return dict(parts) | {"margin": round(MARGIN_SHARE * sum(parts.values())) + MARGIN_BYTES}


def _host(
    shape: ModelShape, run: Run, activations: Activations, device_bytes: int, on_cpu: bool
) -> dict[str, int]:
    offloaded = offload_bytes(shape, run, pinned_powers=not on_cpu)
    return {
        # On a CPU, weights are where they stay once they are loaded.
        "load": load_bytes(shape, run),
        "offload": offloaded,
        "activations": round(activations.host),
        "device": device_bytes,
    }


def _notes(args: RunArgs, run: Run) -> list[str]:
    notes = []
    if not is_known(run.optimizer):
        notes.append(f"the state of optimizer {run.optimizer} is not known: Adam's is counted")
    if "layerwise" in run.optimizer or run.optimizer in ("lomo", "adalomo"):
        notes.append(f"{run.optimizer} frees gradients in the backward pass: all are counted")
    if args.model.compile == "layers":
        notes.append("compiled layers keep less than is counted here")
    if args.training.get("use_liger_kernel"):
        notes.append("Liger's kernels keep less than is counted here")
    if args.facts.kind == PREFERENCE:
        notes.append("of TRL's trainers, generation and its cache are not counted")
    if args.tuning.method == "prefix":
        notes.append("a prefix's keys and values are counted as tokens of a row")
    return notes
