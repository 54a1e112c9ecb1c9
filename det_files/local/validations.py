"""A trial's validations, on their way to the search and back as decisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from det_files.cluster.decisions import DecisionRecord
from det_files.local.metrics import VALIDATION, Row, RowTail
from det_files.local.run_directory import latest_checkpoint
from det_files.trial_files import METRICS_FILE

# Takes in a validation of the trial; True where the trial is to stop there.
Decide = Callable[[Row], bool]


class Validations:
    """Follows a trial's metrics from its beginning; a resumed trial's are told to the search again.

    Attributes:
        stopped_at: Steps at which the search has stopped the trial; None while it has not.
    """

    def __init__(self, directory: Path, decide: Decide, answers: bool):
        """Begins; where the trial waits for answers, it can know that now.

        Args:
            directory: The trial's.
            decide: The search, which gives one validation one answer however often it is told.
            answers: Whether the trial waits for what was decided.
        """
        self.stopped_at: int | None = None
        self._directory = directory
        self._decide = decide
        self._rows = RowTail(directory / METRICS_FILE)
        self._record = DecisionRecord(directory) if answers else None
        if self._record is not None:
            self._record.open()
            self._answered = set(self._record.decisions())

    def take_in(self) -> None:
        """Tells the search of new validations, and the trial what follows from them."""
        for row in self._rows.poll():
            if row.group != VALIDATION:
                continue
            stop = self._decide(row)
            if stop and self.stopped_at is None:
                self.stopped_at = row.steps
            if self._record is not None and row.steps not in self._answered:
                self._answered.add(row.steps)
                self._record.decide(row.steps, stop)

    def have_ended_the_trial(self) -> bool:
        """Whether the search has stopped the trial and the checkpoint of its leaving is there."""
        latest = latest_checkpoint(self._directory)
        if self.stopped_at is None or latest is None:
            return False
        return latest.steps_completed >= self.stopped_at
