"""What of a space is tried: what validation refuses or memory cannot hold is cut, with its reason.

Memory is estimated (det_files.memory), with errors: on a GPU a little more than there is may be
tried, as running out of it costs a short trial; on a CPU a little less, as it would cost other
processes of the machine their lives.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from det_files.args import RunArgs
from det_files.autotune.space import Candidate, Combination
from det_files.data.arguments import BLOCKS
from det_files.faults import ConfigError
from det_files.memory.estimate import GIBIBYTE, Estimate, estimate_run, read_shape
from det_files.memory.shape import ModelShape
from det_files.models import CAUSAL, load_config, load_tokenizer

if TYPE_CHECKING:
    from det_files.experiment import Experiment

_TRIED_UP_TO = {"GPU": 1.1, "host": 0.9}  # times the memory there is

Check = Callable[["Experiment", int], RunArgs]


@dataclass(frozen=True)
class Memory:
    """Bytes that one rank may need, on its device and in the host's memory; None where unknown."""

    device: str  # cuda or cpu
    device_bytes: float | None
    host_bytes: float | None

    def refuses(self, estimate: Estimate) -> str:
        """Why a rank of so much memory is not tried; empty where it is."""
        wanted = [("host", estimate.host_bytes, self.host_bytes)]
        if not estimate.on_cpu:
            wanted.insert(0, ("GPU", estimate.device_bytes, self.device_bytes))
        for what, needed, there in wanted:
            if there is not None and needed > _TRIED_UP_TO[what] * there:
                return (
                    f"needs about {needed / GIBIBYTE:.1f} GiB of {what} memory a rank, "
                    f"there are {there / GIBIBYTE:.1f}"
                )
        return ""


def memory_of_machine(slots: int, gpus: int, gpu_memory: float | None) -> Memory:
    """What this machine has for each of so many ranks; `gpu_memory` (bytes) overrides its own."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        host = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass  # pages that are free now: less than what would be
    host = int(min(host, _left_in_container()))
    if not gpus:
        return Memory("cpu", None, gpu_memory or host / slots)
    if gpu_memory is None:
        import torch

        sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(slots)]
        gpu_memory = float(min(sizes))
    return Memory("cuda", gpu_memory, host / slots)


def _left_in_container() -> float:
    """Bytes that a control group (version 2) still allows; infinite where there is no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # "max": no limit
        return math.inf
    return max(limit - used, 0)


@dataclass
class Cut:
    """What is left of a space, in the order in which combinations are surveyed, and what is not."""

    candidates: list[Candidate] = field(default_factory=list)
    needed_bytes: dict[Candidate, float] = field(default_factory=dict)
    reasons: dict[Candidate, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def with_true_lengths(args: RunArgs) -> tuple[RunArgs, int | None]:
    """The arguments with bounds on rows as long as the data's longest, and how many rows there are.

    What the arguments would let through may be many times longer than what is there. Tokens come
    from the cache that trials read, or are made for it. (args, None) where rows become blocks.

    Raises:
        ConfigError: the data cannot be had, and no trial could have it.
    """
    data, kind = args.data, args.facts.kind
    if kind != CAUSAL or data.packing == BLOCKS or any("text" in s.columns for s in data.sources):
        return args, None
    from det_files.data.dataset import load_data

    tokenizer = load_tokenizer(args.model)
    loaded = load_data(data, tokenizer, load_config(args.model), int(args.training["seed"]))
    longest = max(int(loaded.train.lengths.max()), 2)
    learned = min(max(int(loaded.train.supervised.max()), 1), longest - 1)
    sources = [
        dataclasses.replace(source, max_input_tokens=longest - learned, max_output_tokens=learned)
        for source in data.sources
    ]
    return dataclasses.replace(
        args, data=dataclasses.replace(data, sources=sources)
    ), loaded.order.rows


def cut(
    candidates: Sequence[Candidate],
    derive: Callable[[Candidate], Experiment],
    check: Check,
    slots: int,
    memory: Memory,
) -> Cut:
    """Validates and estimates every candidate's trial.

    What needs most memory comes first: of what fits, it tends to be the fastest.

    Raises:
        ConfigError: the data cannot be had.
    """
    found = Cut()
    checked: dict[Candidate, RunArgs] = {}
    for candidate in candidates:
        try:
            checked[candidate] = check(derive(candidate), slots)
        except ConfigError as error:
            found.reasons[candidate] = "; ".join(fault.message for fault in error.faults)
    if not checked:
        return found
    args, rows = with_true_lengths(next(iter(checked.values())))
    shape = _shape(args, memory, found)
    for candidate, own in checked.items():
        batch = candidate.micro_batch * candidate.accumulation * slots
        reason = (
            f"{rows} training rows do not fill a step of {batch}" if batch > (rows or batch) else ""
        )
        if shape is not None and not reason:
            estimate = estimate_run(shape, own, slots)
            reason = memory.refuses(estimate)
            found.needed_bytes[candidate] = float(estimate.needed_bytes)
        if reason:
            found.reasons[candidate] = reason
        else:
            found.candidates.append(candidate)
    _order(found, list(dict.fromkeys(c.combination.bucket for c in candidates)))
    return found


def _shape(args: RunArgs, memory: Memory, found: Cut) -> ModelShape | None:
    try:
        return read_shape(args, memory.device)
    except (ConfigError, OSError, ValueError) as error:
        said = str(error).partition("\n")[0]
        found.notes.append(f"memory is not estimated, and nothing is cut for it: {said}")
        return None


def _order(found: Cut, buckets: Sequence[int | None]) -> None:
    """The first bucket's combinations first; of these, what needs most at its smallest."""
    least: dict[Combination, float] = {}
    for candidate in found.candidates:
        needed = found.needed_bytes.get(candidate, 0.0)
        own = candidate.combination
        least[own] = min(least.get(own, needed), needed)
    found.candidates.sort(
        key=lambda c: (
            buckets.index(c.combination.bucket),
            -least[c.combination],
            c.combination.stage,
            c.micro_batch,
        )
    )
