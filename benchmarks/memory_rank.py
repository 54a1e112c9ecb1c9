"""One rank of a measured run: the project's entrypoint, with a look at the counts in every step.

    python -m torch.distributed.run … -m benchmarks.memory_rank RESULT.json KIND ENTRYPOINT'S-WORDS…

On a CPU every block that torch's allocator takes and gives back is counted (allocations.c, loaded
before the C library; torch's profiler misses what gloo's threads free): tensors, not resident
pages. On GPUs it is torch.cuda's own counts, beside what its allocator reserved and what is used of
the GPU in all, by other processes, too. The result is rank 0's, in bytes: "states", "peak", and the
peaks within steps of "forward", "backward" and "step" (DeepSpeed's engine takes its step at the end
of what accelerate calls backward), with what is "kept" between the first two.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

Count = Callable[[], int]


def run_as_rank(result: Path, kind: str, words: Sequence[str]) -> None:
    """What one rank does: the entrypoint, with a look at the counts within every step."""
    from unittest import mock

    import torch
    from transformers import TrainerCallback

    from det_files import run_clm, run_seq2seq, training
    from det_files.trainer import TokenTrainer

    on_gpu = torch.cuda.is_available()
    held, most, reset = gpu_counts() if on_gpu else cpu_counts()
    if on_gpu:
        draw_on_gpu()
    counts: dict[str, int] = {}

    def ends(moment: str) -> None:
        """Of a part of the step; its peak is the largest of all steps."""
        counts[moment] = max(counts.get(moment, 0), most())
        counts["peak"] = max(counts.get("peak", 0), counts[moment])
        reset()

    class Counts(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            reset()

        def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            ends("backward")

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if on_gpu:
                free, whole = torch.cuda.mem_get_info()
                counts.update(reserved=torch.cuda.memory_reserved(), used=whole - free)
            ends("step")
            counts["states"] = held()

    compute_loss = TokenTrainer.compute_loss

    def measured_loss(*args: Any, **kwargs: Any) -> Any:
        found = compute_loss(*args, **kwargs)
        counts["kept"] = held()
        ends("forward")
        return found

    callbacks = training.trial_callbacks
    sys.argv = ["det_files", *words]
    with (
        mock.patch.object(training, "trial_callbacks", lambda *a: [*callbacks(*a), Counts()]),
        mock.patch.object(TokenTrainer, "compute_loss", measured_loss),
    ):
        (run_seq2seq if kind == "seq2seq" else run_clm).main()
    if os.environ.get("RANK", "0") == "0":
        result.write_text(json.dumps(counts), encoding="utf-8")


def cpu_counts() -> tuple[Count, Count, Callable[[], Any]]:
    """(bytes held, the most that were, begins a new peak), by allocations.c."""
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    held, most = library.allocated_bytes, library.peak_bytes
    held.restype = most.restype = ctypes.c_longlong
    return held, most, library.reset_peak


def gpu_counts() -> tuple[Count, Count, Callable[[], Any]]:
    """The same by torch.cuda."""
    import torch

    cuda = torch.cuda
    return cuda.memory_allocated, cuda.max_memory_allocated, cuda.reset_peak_memory_stats


def draw_on_gpu() -> None:
    """Has billions of weights drawn where it takes seconds; under ZeRO-3 they already are."""
    import transformers

    for name in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM"):
        model_class = getattr(transformers, name)
        model_class.from_config = partial(_on_gpu, model_class.from_config)


def _on_gpu(from_config: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import torch
    from transformers.integrations import is_deepspeed_zero3_enabled

    if is_deepspeed_zero3_enabled():
        return from_config(*args, **kwargs)
    with torch.device("cuda"):
        return from_config(*args, **kwargs)


if __name__ == "__main__":
    run_as_rank(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
