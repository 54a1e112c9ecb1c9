"""What of a run's arguments model states depend on."""

from __future__ import annotations

from dataclasses import dataclass

from det_files.args import RunArgs
from det_files.deepspeed_config import BatchSizes
from det_files.memory.shape import BYTES, ModelShape
from det_files.memory.zero import Zero, zero_of

# 32 MiB on Hopper for each thread that multiplies, of the forward pass and of the backward: so it
# was on an H200. GPUs before it have less.
_CUBLAS_WORKSPACES = 2 * 32 * 2**20


@dataclass(frozen=True)
class Precision:
    """Bytes of an element: of frozen weights as loaded, of trained ones, of autocast's copies
    (0: weights are computed with as they are), and whether DeepSpeed keeps float32 masters."""

    frozen: int
    trained: int
    copies: int = 0
    masters: bool = False


@dataclass(frozen=True)
class Run:
    """What of a run's arguments states depend on."""

    zero: Zero
    slots: int
    precision: Precision
    optimizer: str = "adamw_torch_fused"
    accumulation: int = 1
    checkpointing: bool = False
    foreach: bool = False
    on_cpu: bool = False

    @property
    def copies_gradients(self) -> bool:
        """Whether DistributedDataParallel's buckets hold every gradient once more: of several ranks
        without DeepSpeed, and on a CPU of a single one, too (accelerate's MULTI_CPU)."""
        return self.zero.stage is None and (self.slots > 1 or self.on_cpu)

    @property
    def workspaces(self) -> int:
        """Bytes of cuBLAS's workspaces, which torch counts as tensors."""
        return 0 if self.on_cpu else _CUBLAS_WORKSPACES


def batch_sizes(args: RunArgs) -> BatchSizes:
    """The batch arithmetic of the arguments."""
    training = args.training
    return BatchSizes(
        training["per_device_train_batch_size"],
        training["gradient_accumulation_steps"],
        args.facts.slots,
    )


def run_of(args: RunArgs, shape: ModelShape, slots: int) -> Run:
    """What of the arguments model states depend on."""
    training = args.training
    optimizer = str(training.get("optim", "adamw_torch_fused"))
    return Run(
        zero=zero_of(args.deepspeed, shape.hidden),
        slots=slots,
        precision=precision_of(args),
        optimizer=optimizer,
        accumulation=training["gradient_accumulation_steps"],
        checkpointing=checkpoints_activations(args),
        # torch's AdamW without fused=True; on CPUs it goes tensor by tensor.
        foreach=optimizer == "adamw_torch" and shape.device == "cuda" and args.deepspeed is None,
        on_cpu=shape.device == "cpu",
    )


def precision_of(args: RunArgs) -> Precision:
    """Widths of weights: DeepSpeed casts all to `dtype`; without it trained ones are float32."""
    width = BYTES[args.model.dtype]
    if args.deepspeed is not None:
        return Precision(width, width, masters=width < 4 or args.stage > 0)
    if not args.float32_adapters:
        return Precision(width, width)
    return Precision(width, 4, copies=width if width < 4 else 0)


def checkpoints_activations(args: RunArgs) -> bool:
    """Whether layers are computed again in the backward pass, by either of its names."""
    names = ("activation_checkpointing", "gradient_checkpointing")
    return any(bool(args.training.get(name)) for name in names)
