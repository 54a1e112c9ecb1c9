"""Runs the trials of an experiment: starting, stopping, restarting, and what state they end in.

A trial and the runner talk through files in the trial's directory:

    stop          made by the runner: save a checkpoint and exit with 0
    preempted     made by the trial, once that checkpoint is published
    config_error  made by the trial before it exits on a ConfigError: a restart would not help
    metadata.json made by the trial: what its next start has to know (see oom_backoff.py)
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from det_files.faults import EXIT_CONFIGURATION
from det_files.local import failure
from det_files.local.process_group import (
    ProcessGroup,
    available_cores,
    free_ports,
    launch_command,
    rank_log_directory,
    trial_environment,
)
from det_files.local.progress import TrialMonitor
from det_files.local.run_directory import RunDirectory, latest_checkpoint
from det_files.local.stop_requests import StopRequests
from det_files.local.summary import State, Trial, now, update_summary
from det_files.local.terminal import Terminal
from det_files.oom_backoff import count_backoffs, read_backoff
from det_files.trial_files import (
    CONFIG_ERROR_FILE,
    METRICS_FILE,
    PREEMPTED_FILE,
    STOP_FILE,
    end_torn_line,
)

if TYPE_CHECKING:
    from det_files.experiment import Experiment

POLL_S = 0.2
FLAGS = (STOP_FILE, PREEMPTED_FILE, CONFIG_ERROR_FILE)


@dataclass(frozen=True)
class Resources:
    """What a trial gets: `slots` ranks, on `gpus` GPUs or, where that is 0, on the CPU."""

    slots: int
    gpus: int

    def __str__(self) -> str:
        ranks = "1 rank" if self.slots == 1 else f"{self.slots} ranks"
        return f"{ranks} on {'the CPU' if self.gpus == 0 else 'GPUs'}"


class Runner:
    """Runs trials one after the other and keeps summary.json up to date."""

    def __init__(
        self,
        experiment: "Experiment",
        resources: Resources,
        run: RunDirectory,
        facts: dict[str, Any],
        terminal: Terminal,
        stops: StopRequests,
    ):
        """Prepares; nothing is started or written.

        Args:
            experiment: Checked already.
            resources: What each trial gets.
            run: The locked run directory, with experiment.yaml.
            facts: Entries of summary.json that this invocation knows (see `update_summary`).
            terminal: Where progress is shown.
            stops: The requests to stop.
        """
        self._experiment = experiment
        self._resources = resources
        self._run = run
        self._facts = facts
        self._terminal = terminal
        self._stops = stops
        self._began = time.monotonic()
        self._wall_before = float(run.read_summary().get("wall_seconds", 0.0))

    def run(self, trials: Sequence[Trial]) -> int:
        """Runs the trials that have not completed; returns the process's exit code.

        Returns:
            0 where all completed or stopped cleanly, 2 where a trial found a configuration
            fault, 1 otherwise.
        """
        code = 0
        for trial in trials:
            if trial.state is State.COMPLETED:
                continue
            trial.state = State.RUNNING
            try:
                code = self._run_trial(trial, trials)
            finally:
                if trial.state is State.RUNNING:
                    trial.state = State.ERROR  # an exception of ours: never leave it "running"
                self.write_summary(trials, ended=now())
            if code != 0 or self._stops.count:
                break
        return code

    def write_summary(self, trials: Sequence[Trial], ended: str | None) -> None:
        """Writes summary.json as things stand; what others have put into it stays."""
        wall_seconds = self._wall_before + time.monotonic() - self._began
        facts = self._facts | {"ended": ended, "wall_seconds": round(wall_seconds, 3)}
        self._run.write_summary(update_summary(self._run.read_summary(), trials, facts))

    def _run_trial(self, trial: Trial, trials: Sequence[Trial]) -> int:
        """Attempts a trial until it ends or may not be restarted again; sets its state."""
        budget = self._experiment.max_restarts
        while True:
            self._prepare(trial.directory)
            self.write_summary(trials, ended=None)
            if self._stops.count:
                trial.state = State.STOPPED
                return 0
            backoffs = count_backoffs(trial.directory)
            code = self._attempt(trial)
            if code is None:
                trial.state = State.KILLED
                return 1
            if code == 0:
                preempted = (trial.directory / PREEMPTED_FILE).exists()
                trial.state = State.STOPPED if preempted else State.COMPLETED
                return 0
            if (trial.directory / CONFIG_ERROR_FILE).exists():
                trial.state = State.ERROR
                return EXIT_CONFIGURATION
            if count_backoffs(trial.directory) > backoffs:
                # No restart is spent: a micro-batch can only be halved so often.
                self._terminal.note(f"trial {trial.number}: {_with_less_memory(trial)}")
                continue
            if budget <= 0 or self._stops.count:
                trial.state = State.ERROR
                return 1
            budget -= 1
            trial.restarts += 1
            self._terminal.note(
                f"trial {trial.number}: restarting {_from_where(trial)}; "
                f"{budget} of {self._experiment.max_restarts} restarts left"
            )

    def _prepare(self, directory: Path) -> None:
        for flag in FLAGS:
            (directory / flag).unlink(missing_ok=True)
        # A rank that was killed while writing leaves half a line; the next row must not join it.
        end_torn_line(directory / METRICS_FILE)

    def _attempt(self, trial: Trial) -> int | None:
        """Runs the trial once; returns its exit code, None where it was killed on request."""
        log = trial.directory / "log.txt"
        log_offset = log.stat().st_size if log.exists() else 0
        kills = failure.count_out_of_memory_kills()
        backoffs = count_backoffs(trial.directory)
        began = time.monotonic()
        monitor = TrialMonitor(self._terminal, trial.number, trial.directory, self._max_steps())
        group = self._start(trial)
        try:
            code = self._watch(group, trial, monitor)
        except BaseException:
            group.kill()
            raise
        finally:
            trial.wall_seconds += time.monotonic() - began
        monitor.poll()
        monitor.finish()
        if code not in (0, None) and count_backoffs(trial.directory) == backoffs:
            self._show_failure(trial, code, failure.read_log(log, log_offset), kills)
        return code

    def _max_steps(self) -> int | None:
        """Returns the number of steps that the hyperparameters set; None where they do not."""
        training = self._experiment.hyperparameters.get("training_arguments")
        value = training.get("max_steps") if isinstance(training, dict) else None
        return value if isinstance(value, int) and value > 0 else None

    def _start(self, trial: Trial) -> ProcessGroup:
        directory, slots = trial.directory, self._resources.slots
        first, second = free_ports(2)
        env = trial_environment(
            slots=slots,
            gpus=self._resources.gpus,
            cores=available_cores(),
            ports=(first, second),
            experiment=self._experiment.environment_variables,
        )
        command = launch_command(
            self._experiment.module, directory, slots, rank_log_directory(directory)
        )
        with open(directory / "log.txt", "a", encoding="utf-8") as log:
            log.write(f"[runner] {now()} {self._resources}, {_from_where(trial)}\n")
        self._terminal.note(
            f"trial {trial.number}: {self._resources}, {_from_where(trial)}; "
            f"log: {self._terminal.path(directory / 'log.txt')}"
        )
        return ProcessGroup(command, directory, env, self._run.lock_fd)

    def _watch(self, group: ProcessGroup, trial: Trial, monitor: TrialMonitor) -> int | None:
        """Waits for the trial's end and passes requests to stop on to it."""
        asked = False
        while (code := group.poll()) is None:
            if self._stops.count >= 2:
                self._terminal.note(f"trial {trial.number}: stopping at once")
                group.kill()
                return None
            if self._stops.count and not asked:
                asked = True
                # Not a signal: torchrun would kill its ranks 30 s later, in the midst of a save.
                (trial.directory / STOP_FILE).touch()
                self._terminal.note(
                    f"trial {trial.number}: stopping once a checkpoint is saved. Once more stops "
                    f"at once; it would then resume {_from_where(trial)}."
                )
            monitor.poll()
            time.sleep(POLL_S)
        return code

    def _show_failure(self, trial: Trial, code: int, log: list[str], kills_before: int) -> None:
        note = self._terminal.note
        config_error = trial.directory / CONFIG_ERROR_FILE
        if config_error.exists() and (text := config_error.read_text(errors="replace").strip()):
            note(text)
            return
        note(f"trial {trial.number} failed (exit code {code}). The last lines of its log:")
        for line in failure.telling_lines(log):
            note(f"  {line}")
        cause = failure.certain_cause(log, failure.count_out_of_memory_kills() - kills_before)
        if cause:
            note(cause)
        note(f"The whole log: {self._terminal.path(trial.directory / 'log.txt')}")


def _from_where(trial: Trial) -> str:
    checkpoint = latest_checkpoint(trial.directory)
    return f"from step {checkpoint.steps_completed}" if checkpoint else "from the start"


def _with_less_memory(trial: Trial) -> str:
    backoff = read_backoff(trial.directory)
    assert backoff is not None
    changes = backoff.in_force.describe(backoff.configured)
    return f"out of memory (oom_backoff): restarting {_from_where(trial)} with {changes}"
