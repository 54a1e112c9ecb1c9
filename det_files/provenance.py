"""Where a checkpoint comes from: versions of what made it, and the commit of the code."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = tuple("torch transformers deepspeed accelerate peft bitsandbytes determined".split())
# An experiment's context has no .git: a file may say `environment_variables: [GIT_COMMIT=…]`.
COMMIT_VARIABLE = "GIT_COMMIT"


@cache
def versions() -> dict[str, str]:
    """Installed versions by package name."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """The commit of the code that runs, by GIT_COMMIT or git itself; None where neither tells."""
    if said := os.environ.get(COMMIT_VARIABLE):
        return said
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
