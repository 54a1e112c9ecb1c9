"""Finding and killing everything a process has started, wherever those processes moved to.

torchrun puts every rank into a session of its own, so killing torchrun's process group or session
leaves the ranks alive. Parentage cannot be left so easily: a process that declares itself a child
subreaper (prctl(2), Linux) adopts every orphan below it, so its descendants stay findable in /proc.
"""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
PASS_INTERVAL_S = 0.02


def become_subreaper() -> None:
    """Makes this process adopt its orphaned descendants instead of letting init do so.

    Raises:
        OSError: If the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def descendants(root: int) -> set[int]:
    """Returns the process ids of the living descendants of `root`; zombies are not alive."""
    children: dict[int, list[int]] = {}
    alive = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except OSError:
            continue  # it ended while we were looking
        # "pid (command) state parent …"; the command may itself hold spaces and brackets.
        state, parent = stat.rpartition(")")[2].split()[:2]
        children.setdefault(int(parent), []).append(pid)
        if state not in "ZX":
            alive.add(pid)
    found: set[int] = set()
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found.update(below)
        pending.extend(below)
    return found & alive


def has_environment(pid: int, entry: str) -> bool:
    """Whether the process was started with `entry` ("NAME=value") in its environment."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return entry.encode() in environment.split(b"\0")


def kill_descendants(root: int, marker: str | None = None, timeout_s: float = 10.0) -> bool:
    """Kills every descendant of `root` (SIGKILL), again and again until none is left.

    `root` must be this process or lie below it, and this process must be a subreaper: then an
    orphan made by one pass is adopted and found by the next one.

    Args:
        root: Process id at the top; it is not itself killed.
        marker: Kill only processes with this "NAME=value" in their environment.
        timeout_s: A process in an uninterruptible wait (a dead network file system) cannot be
            killed; give up after this many seconds.

    Returns:
        Whether none is left.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        targets = descendants(root)
        if marker is not None:
            targets = {pid for pid in targets if has_environment(pid, marker)}
        if not targets:
            return True
        if time.monotonic() > deadline:
            return False
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(pid, signal.SIGKILL)
        time.sleep(PASS_INTERVAL_S)
