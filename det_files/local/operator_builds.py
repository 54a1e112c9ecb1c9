"""What a trial that is starting waits for without a word: DeepSpeed's operators, built once."""

from __future__ import annotations

import time
from collections.abc import Mapping

from det_files.cluster.operator_locks import first_builds

LOOK_EVERY_S = 1.0


class OperatorBuilds:
    """Watches for builds while a trial starts."""

    def __init__(self, environment: Mapping[str, str]):
        """Prepares to watch; `environment` is that of the trial's processes."""
        self.under_way: list[str] = []
        self._environment = environment
        self._told: set[str] = set()
        self._looked_at = 0.0

    def poll(self) -> list[str]:
        """Looks, every second at most; returns the operators whose builds are new."""
        now = time.monotonic()
        if self._looked_at and now - self._looked_at < LOOK_EVERY_S:
            return []
        self._looked_at = now
        self.under_way = first_builds(self._environment)
        new = [name for name in self.under_way if name not in self._told]
        self._told.update(new)
        return new
