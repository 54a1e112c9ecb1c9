"""What the log of a failed trial says: whose last lines to show, and causes that are certain."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from det_files.local.rank_logs import split_prefix

LAST_LINES = 30
LAST_BYTES = 1 << 20  # of log.txt; what is further back is no explanation of the end

# Text in the log → what to do. Only what names its cause beyond doubt.
HINTS = (
    (
        r"torch\.(cuda\.)?OutOfMemoryError: ",
        "The GPU's memory was too small: lower per_device_train_batch_size (and raise "
        "gradient_accumulation_steps), or use a higher ZeRO stage or offload.",
    ),
    (
        r"OSError: \[Errno 28\] No space left on device",
        "The disk is full.",
    ),
    (
        r"RuntimeError: Ninja is required to load C\+\+ extensions",
        "DeepSpeed compiles its operators and needs ninja: pip install ninja.",
    ),
)
OUT_OF_MEMORY_KILL = (
    "The kernel's out-of-memory killer was at work during this trial and a rank was killed: the "
    "machine's memory was too small."
)


def read_log(path: Path, offset: int = 0) -> list[str]:
    """Returns the last lines of a log (at most `LAST_BYTES`), none from before `offset` bytes."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            file.seek(max(offset, size - LAST_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def failed_rank(lines: Sequence[str]) -> int | None:
    """Returns the rank that failed first according to torchrun's report, or None."""
    texts = [text for rank, text in map(split_prefix, lines) if rank is None]
    reports = [number for number, text in enumerate(texts) if text.startswith("Root Cause")]
    for text in texts[reports[-1] :] if reports else []:
        match = re.match(r"\s*rank\s*: (\d+)", text)
        if match:
            return int(match.group(1))
    return None


def telling_lines(lines: Sequence[str], count: int = LAST_LINES) -> list[str]:
    """Returns the last `count` lines of rank 0, and of the rank that failed if it is another one.

    Where no rank has written anything, those of torchrun.
    """
    ranks = dict.fromkeys([0, failed_rank(lines)])
    chosen: list[str] = []
    for rank in ranks:
        if rank is not None:
            chosen += [line for line in lines if split_prefix(line)[0] == rank][-count:]
    return chosen or list(lines[-count:])


def explanation(log: Path, offset: int, kills_before: int) -> list[str]:
    """Returns what to show of a failed attempt: its telling lines, indented, and a certain cause.

    Args:
        log: The trial's log.txt.
        offset: Bytes of it that were there before the attempt.
        kills_before: What `count_out_of_memory_kills` said before the attempt.
    """
    lines = read_log(log, offset)
    cause = certain_cause(lines, count_out_of_memory_kills() - kills_before)
    return [f"  {line}" for line in telling_lines(lines)] + ([cause] if cause else [])


def certain_cause(lines: Sequence[str], out_of_memory_kills: int) -> str | None:
    """Returns what was wrong and what helps where the log leaves no doubt, else None.

    Args:
        lines: The attempt's log.
        out_of_memory_kills: How often the kernel's killer struck during the attempt.
    """
    text = "\n".join(lines)
    for pattern, hint in HINTS:
        if re.search(pattern, text):
            return hint
    if out_of_memory_kills > 0 and re.search(r"exitcode\s*: -9 ", text):
        return OUT_OF_MEMORY_KILL
    return None


def policy_that_cancels(policies: Any, lines: Sequence[str]) -> str | None:
    """Returns the pattern of the first log policy that cancels retries at one of the lines.

    Args:
        policies: `log_policies` of the experiment: [{pattern, action}], the action
            {type: cancel_retries} or, from 0.38 on, just cancel_retries.
        lines: The attempt's log.
    """
    for policy in policies or []:
        action = policy.get("action")
        kind = action.get("type") if isinstance(action, Mapping) else action
        if kind == "cancel_retries" and any(re.search(policy["pattern"], x) for x in lines):
            return str(policy["pattern"])
    return None


def count_out_of_memory_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """Returns how many processes the kernel has killed for memory since it booted; 0 if unknown."""
    try:
        match = re.search(r"^oom_kill (\d+)$", vmstat.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match.group(1)) if match else 0
