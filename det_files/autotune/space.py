"""The space of an autotuning: candidates, each a configuration of DeepSpeed and batch that agrees.

combination   ZeRO stage x offload x bucket sizes x activation checkpointing
candidate     a combination and a micro-batch: rows of a forward pass on one rank
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from det_files.deepspeed_config import merge, offload_device

OFFLOADS = ("none", "cpu", "cpu+params")  # nothing; optimizer states; parameters as well
# What the project's own files of these stages have beside stage and buckets. A file of another
# stage lacks it, or leaves to "auto" what is filled for stage 3 alone, in units of its own.
_STAGE_SETTINGS: dict[int, dict[str, Any]] = {
    0: {"reduce_bucket_size": 2e8, "allgather_bucket_size": 2e8},
    1: {"reduce_bucket_size": 2e8, "allgather_bucket_size": 2e8},
    2: {
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": 2e8,
        "allgather_bucket_size": 2e8,
    },
    3: {
        "overlap_comm": True,
        "contiguous_gradients": True,
        "sub_group_size": 1e9,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_max_live_parameters": 1e9,
        "stage3_max_reuse_distance": 1e9,
        "stage3_gather_16bit_weights_on_model_save": True,
    },
}
_ON_CPU = {"device": "cpu", "pin_memory": True}
_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


@dataclass(frozen=True, order=True)
class Combination:
    """What is tuned beside the micro-batch; `bucket` in elements, None as the file has it."""

    stage: int
    offload: str = "none"
    checkpointing: bool = False
    bucket: int | None = None

    def __str__(self) -> str:
        parts = [f"stage {self.stage}"]
        parts += [f"offload {self.offload}"] * (self.offload != "none")
        parts += ["checkpointing"] * self.checkpointing
        parts += [f"buckets {self.bucket:g}".replace("e+0", "e")] if self.bucket else []
        return ", ".join(parts)


@dataclass(frozen=True, order=True)
class Candidate:
    """One configuration that can be measured; `accumulation` follows from the micro-batch."""

    combination: Combination
    micro_batch: int
    accumulation: int = field(default=1, compare=False)

    def __str__(self) -> str:
        batch = f"micro-batch {self.micro_batch}"
        batch += f" x {self.accumulation}" if self.accumulation > 1 else ""
        return f"{self.combination}, {batch}"

    def to_mapping(self) -> dict[str, Any]:
        """As summary.json has it."""
        own = self.combination
        return {
            "stage": own.stage,
            "offload": own.offload,
            "checkpointing": own.checkpointing,
            "bucket": own.bucket,
            "micro_batch": self.micro_batch,
            "accumulation": self.accumulation,
        }

    @classmethod
    def of_mapping(cls, found: Mapping[str, Any]) -> Candidate:
        names = ("stage", "offload", "checkpointing", "bucket")
        combination = Combination(**{name: found[name] for name in names})
        return cls(combination, found["micro_batch"], found["accumulation"])


@dataclass(frozen=True)
class Axes:
    """The values of each dimension, in the order given; the first bucket is tried first."""

    stages: Sequence[int]
    offloads: Sequence[str]
    checkpointing: Sequence[bool]
    buckets: Sequence[int | None]
    micro_batches: Sequence[int]

    def candidates(self, accumulation: int, rows_a_rank: int | None) -> list[Candidate]:
        """Every candidate that makes sense, by stage, offload, checkpointing, bucket, micro-batch.

        Args:
            accumulation: The experiment's own, which all have alike.
            rows_a_rank: Where the global batch is kept: rows of a rank in one optimizer step. The
                accumulation then follows, and only divisors of it are micro-batches.
        """
        found = []
        for stage, offload, checkpointing, bucket in product(
            self.stages, self.offloads, self.checkpointing, self.buckets
        ):
            if offload == "cpu+params" and stage != 3:
                continue
            if offload != "none" and stage == 0:
                continue
            combination = Combination(stage, offload, checkpointing, bucket)
            for rows in sorted(self.micro_batches):
                if rows_a_rank is None:
                    found.append(Candidate(combination, rows, accumulation))
                elif rows_a_rank % rows == 0:
                    found.append(Candidate(combination, rows, rows_a_rank // rows))
        return found


def overwritten(combination: Combination, deepspeed: Mapping[str, Any]) -> dict[str, Any]:
    """What a combination overwrites in `deepspeed`, the experiment's merged configuration."""
    section = deepspeed.get("zero_optimization") or {}
    stage = combination.stage
    zero: dict[str, Any] = {"stage": stage}
    # Stage 3 has buckets of its own, much smaller ones.
    foreign = (section.get("stage") == 3) != (stage == 3)
    for key, value in _STAGE_SETTINGS[stage].items():
        if key not in section or (foreign and key == "reduce_bucket_size"):
            zero[key] = value
    if combination.bucket is not None:
        second = "stage3_prefetch_bucket_size" if stage == 3 else "allgather_bucket_size"
        zero |= {"reduce_bucket_size": combination.bucket, second: combination.bucket}
    for what, wanted in (
        ("optimizer", combination.offload != "none"),
        ("param", combination.offload == "cpu+params"),
    ):
        given = offload_device(deepspeed, what)
        if wanted and given != "cpu":
            zero[f"offload_{what}"] = dict(_ON_CPU)
        elif not wanted and given != "none":
            zero[f"offload_{what}"] = {"device": "none"}
    # What a file states of the batch would contradict the training arguments, which say it.
    stated = {key: "auto" for key in _BATCH if deepspeed.get(key, "auto") != "auto"}
    return {"zero_optimization": zero} | stated


def hyperparameters_of(
    candidate: Candidate, hyperparameters: Mapping[str, Any], deepspeed: Mapping[str, Any]
) -> dict[str, Any]:
    """The experiment's hyperparameters with what the candidate says; nothing else differs.

    Args:
        candidate: What is measured.
        hyperparameters: The experiment's.
        deepspeed: Its merged DeepSpeed configuration.
    """
    own = copy.deepcopy(dict(hyperparameters))
    overwrite = own.get("overwrite_deepspeed_args") or {}
    own["overwrite_deepspeed_args"] = merge(
        overwrite, overwritten(candidate.combination, deepspeed)
    )
    training = dict(own.get("training_arguments") or {})
    training.pop("gradient_checkpointing", None)  # the older name
    training["per_device_train_batch_size"] = candidate.micro_batch
    training["gradient_accumulation_steps"] = candidate.accumulation
    training["activation_checkpointing"] = candidate.combination.checkpointing
    own["training_arguments"] = training
    return own
