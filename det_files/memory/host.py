"""Host memory of one rank: what loading takes, and what is offloaded to it."""

from __future__ import annotations

from det_files.memory.runs import Run
from det_files.memory.shape import ModelShape
from det_files.memory.states import partition, persistence

# DeepSpeedCPUAdam: float32 weights, gradients and two states.
_CPU_ADAM_BYTES = 16
# OptimizerSwapper's buffers (zero/offload_config.py: buffer_count).
_NVME_OPTIMIZER_BUFFERS = 4


def load_bytes(shape: ModelShape, run: Run) -> int:
    """Bytes of the weights that a rank reads before they are on its device.

    Weights in the dtype of the file are mapped, and ranks of a host share the pages; converted ones
    are each rank's own, and are counted here for all. In 4 bits they go to the device one by one,
    and stage 3 reads a module at a time and keeps a part (benchmarks/load_memory.py measures it).
    """
    width = max(run.precision.frozen, run.precision.trained)
    if run.zero.stage == 3:
        kept = partition(shape.trained + shape.frozen, run.slots)
        return (kept + shape.largest_module) * run.precision.frozen
    if any(p.quantized for p in shape.parameters):
        return max(p.elements for p in shape.parameters) * width
    return shape.trained * run.precision.trained + shape.frozen * run.precision.frozen


def offload_bytes(shape: ModelShape, run: Run, pinned_powers: bool) -> int:
    """Bytes of what ZeRO keeps in host memory for one rank.

    `pinned_powers`: torch's allocator of pinned memory rounds a tensor up to a power of two
    (CachingHostAllocator), which on GPUs can nearly double a large one.
    """
    zero, width = run.zero, run.precision.trained
    part = partition(shape.trained, run.slots)
    sizes: list[int] = []
    if zero.offload_optimizer == "cpu":
        sizes += [4 * part] * (_CPU_ADAM_BYTES // 4)
        sizes += [part * width]  # 16-bit weights on their way back, or gradient partitions
        if zero.stage in (1, 2):
            sizes += [shape.largest_trained * width]
            if run.accumulation > 1:
                sizes += [part * width]
    elif zero.offload_optimizer == "nvme":
        sizes += [4 * min(part, zero.sub_group)] * _NVME_OPTIMIZER_BUFFERS
        sizes += [part * width]
    if zero.offload_param == "cpu":
        persistent, others = persistence(shape, run)
        sizes += [part * width]
        frozen = others * run.precision.frozen // run.slots - part * width
        sizes += [max(0, frozen)]
        sizes += [persistent * width // run.slots]
    elif zero.offload_param == "nvme":
        sizes += [zero.nvme_buffers * width]
    return sum(_power_of_two(size) if pinned_powers else size for size in sizes)


def _power_of_two(size: int) -> int:
    """The next power of two; what is small is left as it is."""
    return 1 << (size - 1).bit_length() if size > 1 else size
