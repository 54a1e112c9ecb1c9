"""Locks of operators that torch builds: one that a killed build has left is waited for, for ever.

    $TORCH_EXTENSIONS_DIR or ~/.cache/torch_extensions/<version>/
        <operator>/lock       torch.utils.file_baton.FileBaton, open while the build lasts

DeepSpeed builds its operators when they are first used. Who finds a lock waits without a word, so a
trial that was killed while it built would stop every later one of this user.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

# Builds take some minutes; another host, whose processes are not seen here, may be at one.
_ABANDONED_S = 600.0
_LOOK_EVERY_S = 5.0


def release_abandoned_locks() -> None:
    """Removes locks that no process here holds, once they are older than a build.

    Until then they are watched: a trial that is restarted right after it was killed finds its own
    lock seconds old. Locks that a process here holds are left to DeepSpeed, which waits for them.
    To be called by one rank of a host, before an operator is asked for.
    """
    for lock in _locks(os.environ):
        with suppress(OSError):  # released, or another user's
            _release(lock)


def first_builds(environment: Mapping[str, str]) -> list[str]:
    """Names of the operators that processes of this host are building for the first time.

    An operator that has been built is locked for a second, to see that it is up to date.

    Args:
        environment: of those processes, which says where their operators lie.
    """
    return sorted(
        lock.parent.name
        for lock in _locks(environment)
        if not any(lock.parent.glob("*.so")) and _is_held(lock)
    )


def _release(lock: Path) -> None:
    """Returns when the lock is removed or held here.

    Raises:
        OSError: it is gone, or cannot be removed.
    """
    told = False
    while not _is_held(lock):
        age = time.time() - lock.stat().st_mtime
        if age > _ABANDONED_S:
            lock.unlink()
            logger.warning("removed %s, which a killed build had left", lock)
            return
        if not told:
            logger.warning(
                "%s is %.0f s old and held by no process here: it is removed at %.0f s, if no "
                "other host has finished building by then",
                lock,
                age,
                _ABANDONED_S,
            )
            told = True
        time.sleep(_LOOK_EVERY_S)


def _locks(environment: Mapping[str, str]) -> Iterator[Path]:
    named = environment.get("TORCH_EXTENSIONS_DIR")
    # The default is that of torch.utils.cpp_extension.get_default_build_root.
    cache = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(named or Path(cache, "torch_extensions"))
    yield from root.glob("*/lock" if named else "*/*/lock")


def _is_held(lock: Path) -> bool:
    """Whether a process of this host has it open, as far as it can be seen."""
    lock = lock.resolve()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if descriptor.readlink() == lock:
                        return True
    return False
