"""The settings of ZeRO that memory depends on, as transformers and DeepSpeed fill them in.

Elements where not said otherwise. Defaults are those of DeepSpeed 0.19.8 (runtime/zero/config.py);
"auto" is what transformers makes of it (integrations/deepspeed.py, H the hidden size).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from det_files.deepspeed_config import offload_device, zero_stage


@dataclass(frozen=True)
class Zero:
    """One run's ZeRO. `stage` is None without DeepSpeed; offload is none, cpu or nvme."""

    stage: int | None = None
    reduce_bucket: int = 0
    buckets: int = 1
    persistence_threshold: int = 0
    prefetch_bucket: int = 0
    max_reuse_distance: int = 0
    max_live: int = 0
    sub_group: int = 0
    offload_optimizer: str = "none"
    offload_param: str = "none"
    nvme_buffers: int = 0

    @property
    def partitions_optimizer(self) -> bool:
        return (self.stage or 0) >= 1

    @property
    def partitions_weights(self) -> bool:
        return self.stage == 3


def zero_of(deepspeed: Mapping[str, Any] | None, hidden: int) -> Zero:
    """The settings of a merged DeepSpeed configuration; `hidden` is H."""
    if deepspeed is None:
        return Zero()
    section = deepspeed.get("zero_optimization") or {}
    stage = zero_stage(deepspeed)

    def number(key: str, default: float, auto: float) -> int:
        value = section.get(key, default)
        return int(auto if value == "auto" else value)

    overlap = section.get("overlap_comm")
    overlap = stage == 3 if overlap is None else bool(overlap)
    param = section.get("offload_param") or {}
    return Zero(
        stage=stage,
        reduce_bucket=number("reduce_bucket_size", 5e8, hidden * hidden),
        # stage_1_and_2.py, setup_buckets: a second one to fill while the first is sent.
        buckets=2 if overlap and stage in (1, 2) else 1,
        persistence_threshold=number("stage3_param_persistence_threshold", 1e5, 10 * hidden),
        prefetch_bucket=number("stage3_prefetch_bucket_size", 5e7, 0.9 * hidden * hidden),
        max_reuse_distance=number("stage3_max_reuse_distance", 1e9, 1e9),
        max_live=number("stage3_max_live_parameters", 1e9, 1e9),
        sub_group=number("sub_group_size", 1e9, 1e9),
        offload_optimizer=offload_device(deepspeed, "optimizer"),
        offload_param=offload_device(deepspeed, "param"),
        nvme_buffers=int(param.get("buffer_count", 5) * float(param.get("buffer_size", 1e8))),
    )
