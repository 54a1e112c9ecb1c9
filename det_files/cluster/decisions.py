"""What a local searcher decides of a trial: a file's answer in place of the master's.

It stands where `master.TrialRecord` stands on a cluster, so that a trial which is stopped at a rung
leaves in the same way on both.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from pathlib import Path

from det_files.cluster.trial_state import TrialState
from det_files.trial_files import DECISIONS_FILE, end_torn_line

logger = logging.getLogger(__name__)

_TELL_AFTER_S = 60.0
_PAUSE_S = 0.02


class DecisionRecord:
    """The decisions that the runner writes into a trial's directory."""

    def __init__(self, trial_dir: Path) -> None:
        self._path = trial_dir / DECISIONS_FILE

    @property
    def exists(self) -> bool:
        """True where a runner decides over this trial."""
        return self._path.exists()

    def state_after_validation(self, step: int) -> TrialState:
        """The trial's state once the validation of `step` has been decided upon.

        The runner may be held up (Ctrl-Z), and a trial that went on meanwhile would go beyond its
        rung; where the runner is no more, its keeper ends the trial. So there is no time limit.
        """
        told = time.monotonic()
        while self.exists:
            stop = self.decisions().get(step)
            if stop is not None:
                return TrialState(
                    f"STATE_{'STOPPING_COMPLETED' if stop else 'RUNNING'}", step, step
                )
            if time.monotonic() - told > _TELL_AFTER_S:
                told = time.monotonic()
                logger.warning("waiting for the runner to decide on step %d: %s", step, self._path)
            time.sleep(_PAUSE_S)
        return TrialState("STATE_RUNNING", step, step)

    def decisions(self) -> dict[int, bool]:
        """Step → whether the trial is to stop there; a line that is being written is left out."""
        text = self._path.read_text(encoding="utf-8") if self.exists else ""
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        found = {}
        for line in lines:
            with contextlib.suppress(ValueError):  # torn by a kill
                row = json.loads(line)
                found[int(row["steps_completed"])] = bool(row["stop"])
        return found

    def open(self) -> None:
        """Says, before the trial starts, that the runner will answer its validations."""
        self._path.touch()
        end_torn_line(self._path)

    def decide(self, step: int, stop: bool) -> None:
        """Answers the validation of a step; the runner's side."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"steps_completed": step, "stop": stop}) + "\n")
