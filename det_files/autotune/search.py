"""The search as the local runner sees it: it hands out one trial at a time and reads what came.

Everything is in the run directory: autotune.json (what is searched, and within what), and in
summary.json each trial's candidate. What is tried next follows from these alone, so that a run
that was killed goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from det_files.autotune.memory_limit import record_out_of_memory
from det_files.autotune.metrics import PEAK_MEMORY, SPREAD
from det_files.autotune.space import Candidate
from det_files.autotune.strategy import (
    FAILED,
    MEASURED,
    Result,
    Space,
    next_candidate,
)
from det_files.autotune.strategy import (
    OUT_OF_MEMORY as OUT,
)
from det_files.experiment import to_yaml
from det_files.local import failure
from det_files.local.metrics import Row, best_row, read_rows
from det_files.local.run_directory import RunDirectory, write_atomically
from det_files.local.summary import State, Trial
from det_files.out_of_memory import TEXTS
from det_files.trial_files import METRICS_FILE, OUT_OF_MEMORY_FILE

if TYPE_CHECKING:
    from det_files.experiment import Experiment

Derive = Callable[[Candidate], "Experiment"]


class AutotuneSearch:
    """Hands out measuring trials (see local.searches.Search)."""

    answers = False
    survives = True

    def __init__(
        self,
        run: RunDirectory,
        space: Space,
        derive: Derive,
        metric: str,
        trials: int,
        *,
        grid: bool = False,
    ):
        """Takes up what the run directory has.

        Args:
            run: The locked run directory.
            space: What may be measured.
            derive: A candidate's experiment.
            metric: throughput or peak_memory.
            trials: The most that are made.
            grid: Every candidate once, in order, whatever comes of it.
        """
        self._run, self._space, self._derive, self._metric = run, space, derive, metric
        self._limit, self._grid = trials, grid
        self._trials: list[Trial] = []
        self._candidates: dict[int, Candidate] = {}
        self._kills = 0
        for entry in run.read_summary().get("trials", []):
            self._take_up(entry)
        self._unfinished = [t for t in self._trials if outcome_of(t, metric) is None]

    def _take_up(self, entry: Mapping[str, Any]) -> None:
        trial = self._add(Candidate.of_mapping(entry["candidate"]))
        trial.state = State(entry["state"])
        trial.restarts, trial.wall_seconds = entry["restarts"], entry["wall_seconds"]
        if trial.state in (State.RUNNING, State.KILLED):  # killed before it was noted
            if measurement_of(trial, self._metric) is not None:
                trial.state = State.COMPLETED
            elif (trial.directory / OUT_OF_MEMORY_FILE).exists():
                trial.state = State.ERROR
        self._describe(trial)

    def _add(self, candidate: Candidate) -> Trial:
        number, experiment = len(self._trials) + 1, self._derive(candidate)
        directory = self._run.trial_directory(number)
        trial = Trial(number, directory, experiment.hyperparameters)
        self._trials.append(trial)
        self._candidates[number] = candidate
        self._describe(trial)
        if not (directory / "experiment.yaml").exists():
            write_atomically(directory / "experiment.yaml", to_yaml(experiment.config))
        return trial

    def _describe(self, trial: Trial) -> None:
        trial.search = {
            "candidate": self._candidates[trial.number].to_mapping(),
            "outcome": outcome_of(trial, self._metric),
        }

    def results(self) -> list[Result]:
        """What came of the trials that have ended, in order."""
        found = []
        for trial in self._trials:
            outcome = outcome_of(trial, self._metric)
            if outcome is not None:
                candidate = self._candidates[trial.number]
                found.append(result_of(candidate, outcome, trial, self._metric))
        return found

    def trials(self) -> list[Trial]:
        return self._trials

    def next_trial(self) -> Trial | None:
        self._kills = failure.count_out_of_memory_kills()
        if self._unfinished:
            return self._unfinished.pop(0)
        chosen = self._next()
        return None if chosen is None else self._add(chosen)

    def _next(self) -> Candidate | None:
        results = self.results()
        if not self._grid:
            return next_candidate(self._space, results, self._limit)
        tried = {result.candidate for result in results}
        left = [c for c in self._space.candidates if c not in tried]
        return left[0] if left and len(results) < self._limit else None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return len(self.results()) == len(self._trials) and self._next() is None

    def candidate_of(self, trial: Trial) -> Candidate:
        return self._candidates[trial.number]

    def experiment_of(self, trial: Trial) -> Experiment:
        return self._derive(self._candidates[trial.number])

    def validated(self, trial: Trial, row: Row) -> bool:
        return False

    def ended(self, trial: Trial) -> None:
        flag = trial.directory / OUT_OF_MEMORY_FILE
        if trial.state is State.ERROR and not flag.exists():
            said = _memory_in_log(trial, failure.count_out_of_memory_kills() - self._kills)
            if said:
                record_out_of_memory(trial.directory, said)
        self._describe(trial)

    def describe(self) -> None:
        return None  # what it came to is written at the end (outcome.py)


def outcome_of(trial: Trial, metric: str) -> str | None:
    """What came of a trial; None where it has not ended."""
    if trial.state is State.COMPLETED:
        return FAILED if measurement_of(trial, metric) is None else MEASURED
    if trial.state is State.ERROR:
        return OUT if (trial.directory / OUT_OF_MEMORY_FILE).exists() else FAILED
    return None


def result_of(candidate: Candidate, outcome: str, trial: Trial, metric: str) -> Result:
    """The result in the strategy's terms: a score is larger for the better."""
    row = measurement_of(trial, metric)
    if outcome != MEASURED or row is None:
        return Result(candidate, outcome)
    value = row.number(metric) or 0.0
    if metric == PEAK_MEMORY:
        return Result(candidate, outcome, 1e12 / max(value, 1.0))
    return Result(candidate, outcome, value, row.number(SPREAD) or 0.0)


def measurement_of(trial: Trial, metric: str) -> Row | None:
    """What a trial has measured of itself; None where it has not come so far."""
    return best_row(read_rows(trial.directory / METRICS_FILE), metric, metric == PEAK_MEMORY)


def _memory_in_log(trial: Trial, kills: int) -> str:
    """What its log says of memory that was too small, where the trial itself could not."""
    if trial.hit_config_error:
        return ""
    lines = failure.read_log(trial.directory / "log.txt")
    if failure.certain_cause(lines, kills) == failure.OUT_OF_MEMORY_KILL:
        return "killed by the kernel: the machine's memory was too small"
    found = [line for line in lines if TEXTS.search(line)]
    return found[-1].strip() if found else ""
