"""What a run's trials are and what becomes of them: one trial, or a study's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from det_files.experiment import to_yaml, with_hyperparameters
from det_files.faults import ConfigError, Fault
from det_files.local.metrics import Row
from det_files.local.run_directory import write_atomically
from det_files.local.summary import State, Trial
from det_files.rungs import time_metric

if TYPE_CHECKING:
    from det_files.experiment import Experiment
    from det_files.local.run_directory import RunDirectory
    from det_files.local.study import SearchStudy


class Search(Protocol):
    """Hands out trials and is told what they come to.

    Attributes:
        answers: Whether trials wait for what follows from their validations.
        survives: Whether a trial that fails leaves the others to go on.
    """

    answers: bool
    survives: bool

    def trials(self) -> list[Trial]:
        """Every trial so far, in order; those of a run that is resumed first."""

    def next_trial(self) -> Trial | None:
        """The next one to run, or to go on with; None where there is none now."""

    def experiment_of(self, trial: Trial) -> Experiment:
        """The trial's own experiment, drawn."""

    def validated(self, trial: Trial, row: Row) -> bool:
        """Takes in a validation; True where the trial is to stop there."""

    def ended(self, trial: Trial) -> None:
        """Takes in the trial's end, in the state that it says."""

    def describe(self) -> dict[str, Any] | None:
        """The search's entry in summary.json; None leaves none."""


class SingleTrial:
    """searcher `single`: the experiment as it stands."""

    answers = survives = False

    def __init__(self, experiment: Experiment, run: RunDirectory):
        self._experiment = experiment
        entries = run.read_summary().get("trials") or [{"trial": 1}]
        self._trials = [
            _trial(run, entry["trial"], entry, experiment.hyperparameters) for entry in entries
        ]
        for trial in self._trials:
            _write_once(trial, experiment)
        self._left = [trial for trial in self._trials if trial.state is not State.COMPLETED]

    def trials(self) -> list[Trial]:
        return self._trials

    def next_trial(self) -> Trial | None:
        return self._left.pop(0) if self._left else None

    def experiment_of(self, trial: Trial) -> Experiment:
        return self._experiment

    def validated(self, trial: Trial, row: Row) -> bool:
        return False

    def ended(self, trial: Trial) -> None:
        pass

    def describe(self) -> dict[str, Any] | None:
        return None


class StudySearch:
    """random, grid, adaptive_asha and async_halving: the trials of a study."""

    survives = True

    def __init__(self, experiment: Experiment, run: RunDirectory, study: SearchStudy):
        self._experiment, self._run, self._study = experiment, run, study
        self.answers = study.decides
        self._trials: list[Trial] = []
        entries = {entry["trial"]: entry for entry in run.read_summary().get("trials", [])}
        self._unfinished = study.unfinished()
        for number in range(study.drawn):
            trial = self._add(number, entries.get(number + 1, {}))
            if number not in self._unfinished:
                # The study is written first; the runner may have been killed in between.
                trial.state = State.ERROR if study.has_failed(number) else State.COMPLETED

    def _add(self, number: int, entry: Mapping[str, Any]) -> Trial:
        hyperparameters = self._study.hyperparameters(number)
        trial = _trial(self._run, number + 1, entry, hyperparameters)
        trial.search = self._study.describe_trial(number)
        _write_once(trial, with_hyperparameters(self._experiment, hyperparameters))
        self._trials.append(trial)
        return trial

    def trials(self) -> list[Trial]:
        return self._trials

    def next_trial(self) -> Trial | None:
        if self._unfinished:
            return self._trials[self._unfinished.pop(0)]
        number = self._study.next_trial()
        return None if number is None else self._add(number, {})

    def experiment_of(self, trial: Trial) -> Experiment:
        return with_hyperparameters(self._experiment, trial.hparams)

    def validated(self, trial: Trial, row: Row) -> bool:
        searcher, position = self._study.searcher, float(row.steps)
        if self.answers and time_metric(searcher) == "epochs":
            position = row.metrics["epochs"]
        value = row.number(str(searcher["metric"]))
        stop = self._study.validated(trial.number - 1, row.steps, position, value)
        trial.search = self._study.describe_trial(trial.number - 1)
        return stop and self.answers

    def ended(self, trial: Trial) -> None:
        if trial.state in (State.COMPLETED, State.ERROR):
            failed = self._study.ended(trial.number - 1, trial.state is State.ERROR)
            trial.state = State.ERROR if failed else State.COMPLETED
            trial.search = self._study.describe_trial(trial.number - 1)

    def describe(self) -> dict[str, Any]:
        return self._study.describe()


def make_search(experiment: Experiment, run: RunDirectory) -> Search:
    """The search of the experiment's searcher, begun or gone on with."""
    if run.read_summary().get("searcher", {}).get("name") == "autotune":
        reason = (
            f"{run.path} is an autotuning: python -m det_files.autotune --resume goes on with it"
        )
        raise ConfigError(Fault("--resume", reason))
    if experiment.searcher.get("name", "single") == "single":
        return SingleTrial(experiment, run)
    # These bring Optuna along.
    from det_files.local.search_space import SearchSpace
    from det_files.local.study import SearchStudy
    from det_files.local.study_file import STUDY_FILE

    space = SearchSpace(experiment.hyperparameters)
    study = SearchStudy(
        run.path / STUDY_FILE, experiment.name, experiment.searcher, space, experiment.seed
    )
    return StudySearch(experiment, run, study)


def _trial(
    run: RunDirectory, number: int, entry: Mapping[str, Any], hyperparameters: dict[str, Any]
) -> Trial:
    return Trial(
        number=number,
        directory=run.trial_directory(number),
        hparams=hyperparameters,
        state=State(entry.get("state", State.RUNNING)),
        restarts=entry.get("restarts", 0),
        wall_seconds=entry.get("wall_seconds", 0.0),
    )


def _write_once(trial: Trial, experiment: Experiment) -> None:
    path = trial.directory / "experiment.yaml"
    if not path.exists():
        write_atomically(path, to_yaml(experiment.config))


def is_over(trials: Sequence[Mapping[str, Any]], search: Mapping[str, Any] | None) -> bool:
    """Whether a run that is described in summary.json has nothing left to do."""
    if search is None:
        return bool(trials) and all(trial["state"] == State.COMPLETED for trial in trials)
    ended = [trial for trial in trials if trial["state"] in (State.COMPLETED, State.ERROR)]
    return len(ended) >= search["max_trials"]
