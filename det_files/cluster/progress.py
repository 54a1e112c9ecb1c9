"""Progress, reported from a thread: a bar in a web page must never hold up training."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from det_files.cluster.search import Position

logger = logging.getLogger(__name__)

INTERVAL_S = 5.0
_LAST_S = 5.0  # how long a closing trial waits for its last report


class ProgressReporter:
    """Sends the latest position, at most once every five seconds, and the last one at the end."""

    def __init__(self, send: Callable[[Position], None], in_background: bool) -> None:
        """`send` may fail, and in the background it may block; else each position is sent at once.

        A local file needs no thread, and its readers want every position.
        """
        self._send, self._in_background = send, in_background
        self._latest: Position | None = None
        self._lock = threading.Lock()
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def report(self, position: Position) -> None:
        """Notes a position to be sent; in the background, returns at once."""
        if not self._in_background:
            self._try(position)
            return
        with self._lock:
            self._latest = position
        if self._thread is None:
            self._ending.clear()
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """Sends what is left, within five seconds."""
        if self._thread is not None:
            self._ending.set()
            self._wake.set()
            self._thread.join(_LAST_S)
            self._thread = None

    def _run(self) -> None:
        while not self._ending.is_set() or self._latest is not None:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                position, self._latest = self._latest, None
            if position is not None:
                self._try(position)
            self._ending.wait(INTERVAL_S)

    def _try(self, position: Position) -> None:
        try:
            self._send(position)
        except Exception as error:  # whatever the client raises: a progress bar ends no training
            logger.warning("progress was not reported: %s", error)
