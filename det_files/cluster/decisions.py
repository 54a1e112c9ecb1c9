"""What a local searcher decides of a trial: a file's answer in place of the master's.

It stands where `master.TrialRecord` stands on a cluster, so that a trial which is stopped at a rung
leaves in the same way on both.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from det_files.cluster.master import NoAnswer, TrialState
from det_files.trial_files import DECISIONS_FILE, end_torn_line

_WAIT_S = 60.0  # far more than the runner needs; without a runner the trial ends by itself
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

        Raises:
            NoAnswer: nobody has decided for a minute.
        """
        end = time.monotonic() + _WAIT_S
        while time.monotonic() < end:
            stop = self.decisions().get(step)
            if stop is not None:
                return TrialState(
                    f"STATE_{'STOPPING_COMPLETED' if stop else 'RUNNING'}", step, step
                )
            time.sleep(_PAUSE_S)
        raise NoAnswer(f"no decision on step {step} in {self._path}")

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
