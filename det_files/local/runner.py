"""Runs the trials that a search hands out, as many at once as the machine has room for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from det_files.faults import EXIT_CONFIGURATION
from det_files.local.best_experiment import write_best_experiment
from det_files.local.progress import TrialMonitor
from det_files.local.resources import Resources
from det_files.local.run_directory import RunDirectory
from det_files.local.search_display import SearchDisplay
from det_files.local.search_rows import live_row, row_of
from det_files.local.searches import Search
from det_files.local.stop_requests import StopRequests
from det_files.local.summary import State, Trial, now, update_summary
from det_files.local.terminal import Terminal
from det_files.local.trial_run import TrialRun

if TYPE_CHECKING:
    from det_files.experiment import Experiment

POLL_S = 0.2
# A search ends when all trials that have ended, and so many, found faults of the configuration:
# hyperparameters that were drawn are not to blame then.
CONFIG_ERRORS_THAT_END = 2


class Runner:
    """Runs a search's trials and keeps summary.json up to date."""

    def __init__(
        self,
        experiment: Experiment,
        search: Search,
        resources: Resources,
        run: RunDirectory,
        facts: dict[str, Any],
        terminal: Terminal,
        stops: StopRequests,
    ):
        """Prepares; nothing is started or written.

        Args:
            experiment: Checked already.
            search: What the trials are.
            resources: What each trial gets, and how many run at once.
            run: The locked run directory, with experiment.yaml.
            facts: Entries of summary.json that this invocation knows (see `update_summary`).
            terminal: Where progress is shown.
            stops: The requests to stop.
        """
        self._experiment = experiment
        self._search = search
        self._resources = resources
        self._run = run
        self._facts = facts
        self._terminal = terminal
        self._stops = stops
        self._active: list[TrialRun] = []
        self._gave_up = self._killed = False
        self._summary: dict[str, Any] = {}
        self._warnings: set[str] = set()  # those that were shown, of all trials
        described = search.describe()
        self._display = (
            SearchDisplay(terminal, facts["searcher"], described.get("time_metric", "batches"))
            if described is not None
            else None
        )
        self._began = time.monotonic()
        self._wall_before = float(run.read_summary().get("wall_seconds", 0.0))

    def run(self) -> int:
        """Runs trials until there are no more; returns the process's exit code.

        Returns:
            0 where all ended well or were stopped cleanly, 2 where a fault of the configuration
            ended the run, 1 otherwise. In a search a trial that fails is a result like others.
        """
        try:
            while self._start_trials() or self._active:
                time.sleep(POLL_S)
                for running in list(self._active):
                    if not running.poll():
                        self._end(running)
                self._show()
        finally:
            for running in self._active:  # an exception of ours: nothing is left behind
                running.kill()
                running.trial.state = State.KILLED if self._search.survives else State.ERROR
            self._write_summary(ended=now())
        return self._exit_code()

    def _start_trials(self) -> bool:
        """Starts trials while there is room; False where none was started."""
        started = False
        while not self._stops.count and not self._gave_up:
            lanes = set(range(self._resources.at_once)) - {run.lane for run in self._active}
            trial = self._search.next_trial() if lanes else None
            if trial is None:
                break
            running = self._make(trial, min(lanes))
            self._active.append(running)
            self._write_summary(ended=None)
            running.start()
            started = True
        return started

    def _make(self, trial: Trial, lane: int) -> TrialRun:
        experiment = self._search.experiment_of(trial)
        training = experiment.hyperparameters.get("training_arguments")
        steps = training.get("max_steps") if isinstance(training, dict) else None
        max_steps = steps if isinstance(steps, int) and steps > 0 else None
        return TrialRun(
            trial,
            experiment,
            self._resources,
            self._run,
            lambda: TrialMonitor(
                self._terminal,
                trial.number,
                trial.directory,
                max_steps,
                warnings=self._warnings,
                quiet=self._display is not None,
            ),
            self._terminal,
            self._stops,
            decide=lambda row: self._search.validated(trial, row),
            answers=self._search.answers,
            lane=lane,
        )

    def _end(self, running: TrialRun) -> None:
        self._active.remove(running)
        self._search.ended(running.trial)
        state = running.trial.state
        self._killed |= state is State.KILLED
        self._gave_up |= state is State.ERROR and not self._search.survives
        ended = self._ended()
        faulty = [trial for trial in ended if trial.hit_config_error]
        self._gave_up |= len(faulty) == len(ended) >= CONFIG_ERRORS_THAT_END
        self._write_summary(ended=None if self._active else now())

    def _show(self) -> None:
        """Shows how a search stands: as last summed up, and what its running trials say now."""
        if self._display is None:
            return
        searcher = self._facts["searcher"]
        live = {run.trial.number: run.monitor for run in self._active}
        rows = []
        for entry in self._summary["trials"]:
            row, monitor = row_of(entry, searcher["metric"]), live.get(entry["trial"])
            if monitor is not None:
                row = live_row(row, monitor.progress, searcher, time.time())
            rows.append(row)
        self._display.show(rows)

    def _ended(self) -> list[Trial]:
        """The trials that nothing more is to come of."""
        final = (State.COMPLETED, State.ERROR)
        return [trial for trial in self._search.trials() if trial.state in final]

    def _exit_code(self) -> int:
        if self._killed:
            return 1
        failed = [trial for trial in self._ended() if trial.state is State.ERROR]
        some_succeeded = len(self._ended()) > len(failed)
        if not failed or (self._search.survives and (some_succeeded or self._stops.count)):
            return 0
        config_errors = all(t.hit_config_error for t in failed)
        return EXIT_CONFIGURATION if config_errors else 1

    def _write_summary(self, ended: str | None) -> None:
        """Writes summary.json as things stand; what others have put into it stays."""
        wall_seconds = self._wall_before + time.monotonic() - self._began
        facts = self._facts | {"ended": ended, "wall_seconds": round(wall_seconds, 3)}
        described = self._search.describe()
        if described is not None:
            facts["search"] = described
        summary = update_summary(self._run.read_summary(), self._search.trials(), facts)
        if described is not None:
            name = write_best_experiment(self._run, self._experiment, self._search, summary)
            if name is not None:
                described["best_experiment"] = name
        self._run.write_summary(summary)
        self._summary = summary
