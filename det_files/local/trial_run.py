"""One trial from its first start to its end: attempts, restarts, requests to stop, decisions.

A trial and the runner talk through files in the trial's directory:

    stop             made by the runner: save a checkpoint and exit with 0
    preempted        made by the trial, once that checkpoint is published
    config_error     made by the trial before it exits on a ConfigError: a restart would not help
    metadata.json    made by the trial: what its next start has to know (see oom_backoff.py)
    decisions.jsonl  made by the runner where its search stops trials: what follows from each
                     validation, for which the trial waits
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from det_files.autotune.metrics import is_measured
from det_files.local import failure
from det_files.local.process_group import (
    ProcessGroup,
    free_ports,
    launch_command,
    rank_log_directory,
    trial_environment,
)
from det_files.local.progress import TrialMonitor
from det_files.local.resources import Resources
from det_files.local.run_directory import RunDirectory, latest_checkpoint
from det_files.local.stop_requests import StopRequests
from det_files.local.summary import State, Trial, now
from det_files.local.terminal import Terminal
from det_files.local.validations import Decide, Validations
from det_files.oom_backoff import count_backoffs, read_backoff
from det_files.trial_files import (
    CONFIG_ERROR_FILE,
    METRICS_FILE,
    OUT_OF_MEMORY_FILE,
    PREEMPTED_FILE,
    STOP_FILE,
    end_torn_line,
)

if TYPE_CHECKING:
    from det_files.experiment import Experiment

FLAGS = (STOP_FILE, PREEMPTED_FILE, CONFIG_ERROR_FILE, OUT_OF_MEMORY_FILE)


class TrialRun:
    """A trial that is under way; `poll` brings it forward."""

    def __init__(
        self,
        trial: Trial,
        experiment: Experiment,
        resources: Resources,
        run: RunDirectory,
        make_monitor: Callable[[], TrialMonitor],
        terminal: Terminal,
        stops: StopRequests,
        *,
        decide: Decide,
        answers: bool,
        lane: int,
    ):
        """Prepares; nothing is started.

        Args:
            trial: Its state and accounts are kept up to date.
            experiment: The trial's own, drawn.
            resources: What the trial gets.
            run: The locked run directory.
            make_monitor: Makes what follows an attempt and shows its progress.
            terminal: Where people are told.
            stops: The requests to stop.
            decide: Told of every validation.
            answers: Whether the trial waits for what was decided.
            lane: Which of the machine's shares the trial runs on.
        """
        self.trial = trial
        self.lane = lane
        self.monitor: TrialMonitor | None = None  # of the present attempt, or the last one
        self._experiment, self._resources, self._run = experiment, resources, run
        self._make_monitor, self._terminal, self._stops = make_monitor, terminal, stops
        self._budget = experiment.max_restarts
        self._validations = Validations(trial.directory, decide, answers)
        self._group: ProcessGroup | None = None

    def start(self) -> None:
        """Begins, unless the trial turns out to have ended already; sets its state."""
        self.trial.state = State.RUNNING
        self._validations.take_in()
        if self._stops.count:
            self.trial.state = State.STOPPED
        elif self._validations.have_ended_the_trial():
            self.trial.state = State.COMPLETED
        else:
            self._attempt()

    def poll(self) -> bool:
        """Looks at the trial; False once it has ended, in the state that `trial` says."""
        if self._group is None:
            return False
        code = self._group.poll()
        self._validations.take_in()
        if code is None and self._stops.count >= 2:
            self._terminal.note(f"trial {self.trial.number}: stopping at once")
            self._group.kill()
            self._end_attempt()
            self.trial.state = State.KILLED
        elif code is None:
            self._pass_on_stop_request()
            self._followed().poll()
        else:
            self._end_attempt()
            self._after_attempt(code)
        return self._group is not None

    def kill(self) -> None:
        """Ends the trial's processes at once."""
        if self._group is not None:
            self._group.kill()
            self._end_attempt()

    def _attempt(self) -> None:
        """Starts the trial's processes, from its latest checkpoint."""
        directory = self.trial.directory
        for flag in FLAGS:
            (directory / flag).unlink(missing_ok=True)
        # A rank that was killed while writing leaves half a line; the next row must not join it.
        end_torn_line(directory / METRICS_FILE)
        log = directory / "log.txt"
        self._log_offset = log.stat().st_size if log.exists() else 0
        self._backoffs = count_backoffs(directory)
        self._kills = failure.count_out_of_memory_kills()
        self._began = time.monotonic()
        self._asked = False
        self.monitor = self._make_monitor()
        resources = self._resources
        env = trial_environment(
            slots=resources.slots,
            gpus=resources.gpus,
            threads=resources.threads,
            devices=resources.devices(self.lane),
            ports=tuple(free_ports(2)),
            experiment=self._experiment.environment_variables,
        )
        command = launch_command(
            self._experiment.module, directory, resources.slots, rank_log_directory(directory)
        )
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"[runner] {now()} {resources}, {self._from_where()}\n")
        self._followed().began(f"{resources}, {self._from_where()}", env)
        self._group = ProcessGroup(command, directory, env, self._run.lock_fd)

    def _followed(self) -> TrialMonitor:
        assert self.monitor is not None
        return self.monitor

    def _end_attempt(self) -> None:
        self.trial.wall_seconds += time.monotonic() - self._began
        self._validations.take_in()
        self._followed().poll()
        self._followed().finish()
        self._group = None

    def _after_attempt(self, code: int) -> None:
        """Sets the trial's state after an attempt has ended, or starts the next one."""
        trial = self.trial
        if code == 0:
            preempted = (
                trial.directory / PREEMPTED_FILE
            ).exists() and self._validations.stopped_at is None
            trial.state = State.STOPPED if preempted else State.COMPLETED
            return
        if count_backoffs(trial.directory) > self._backoffs:
            # No restart is spent: a micro-batch can only be halved so often.
            self._terminal.note(f"trial {trial.number}: {self._with_less_memory()}")
            if self._stops.count:
                trial.state = State.STOPPED
            else:
                self._attempt()
            return
        self._show_failure(code)
        if self._stops.count and not trial.hit_config_error:
            trial.state = State.KILLED  # perhaps by whoever asked to stop: it may go on later
            return
        if trial.hit_config_error or self._budget <= 0 or self._is_hopeless():
            trial.state = State.ERROR
            return
        self._budget -= 1
        trial.restarts += 1
        self._terminal.note(
            f"trial {trial.number}: restarting {self._from_where()}; "
            f"{self._budget} of {self._experiment.max_restarts} restarts left"
        )
        self._attempt()

    def _is_hopeless(self) -> bool:
        """Whether a log policy of the experiment says that a restart would not help."""
        log = failure.read_log(self.trial.directory / "log.txt", self._log_offset)
        pattern = failure.policy_that_cancels(self._experiment.config.get("log_policies"), log)
        if pattern is not None and self._budget > 0:
            self._terminal.note(f"No restart: the log has {pattern!r} (log_policies).")
        return pattern is not None

    def _pass_on_stop_request(self) -> None:
        if not self._stops.count or self._asked:
            return
        self._asked = True
        # Not a signal: torchrun would kill its ranks 30 s later, in the midst of a save.
        (self.trial.directory / STOP_FILE).touch()
        waits_for = self._followed().waits_for
        when = f"it has started (it is {waits_for}) and " if waits_for else ""
        self._terminal.note(
            f"trial {self.trial.number}: stopping once {when}a checkpoint is saved. Once more "
            f"stops at once; it would then resume {self._from_where()}."
        )

    def _show_failure(self, code: int) -> None:
        note, trial = self._terminal.note, self.trial
        config_error = trial.directory / CONFIG_ERROR_FILE
        if config_error.exists() and (text := config_error.read_text(errors="replace").strip()):
            note(text)
            return
        note(f"trial {trial.number} failed (exit code {code}). The last lines of its log:")
        log = trial.directory / "log.txt"
        for line in failure.explanation(log, self._log_offset, self._kills):
            note(line)
        note(f"The whole log: {self._terminal.path(log)}")

    def _with_less_memory(self) -> str:
        backoff = read_backoff(self.trial.directory)
        assert backoff is not None
        changes = backoff.in_force.describe(backoff.configured)
        return f"out of memory (oom_backoff): restarting {self._from_where()} with {changes}"

    def _from_where(self) -> str:
        checkpoint = latest_checkpoint(self.trial.directory)
        if checkpoint and is_measured(self._experiment.searcher):  # see training.py
            return "from the start (a measurement is not resumed)"
        return f"from step {checkpoint.steps_completed}" if checkpoint else "from the start"
