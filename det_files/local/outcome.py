"""What is said at the end of a run; the last line on stdout is the run directory."""

from typing import Any

from det_files.faults import ConfigError
from det_files.local.progress import duration
from det_files.local.run_directory import RunDirectory
from det_files.local.summary import State
from det_files.local.terminal import Terminal
from det_files.trial_files import CONFIG_ERROR_FILE


def show_outcome(run: RunDirectory, terminal: Terminal) -> None:
    """Writes the report and shows how each trial ended, how to resume, and where it all lies."""
    try:
        summary = run.read_summary()
        for trial in summary.get("trials", []):
            terminal.result(outcome_line(trial, summary["searcher"]))
        if write_report_if_possible(run, terminal):
            terminal.result(f"report: {terminal.path(run.report_file)}")
        if any(is_resumable(trial, run) for trial in summary.get("trials", [])):
            terminal.result(f"resume with: {terminal.command('--resume', terminal.path(run.path))}")
    except ConfigError as error:
        terminal.note(str(error))
    finally:
        terminal.result(terminal.path(run.path))


def is_resumable(trial: dict[str, Any], run: RunDirectory) -> bool:
    """Whether resuming would do something else than end the same way."""
    config_error = run.trial_directory(trial["trial"]) / CONFIG_ERROR_FILE
    return trial["state"] != State.COMPLETED and not config_error.exists()


def outcome_line(trial: dict[str, Any], searcher: dict[str, Any]) -> str:
    """Returns one line: state, steps, time, and the searcher metric's final and best value."""
    text = f"trial {trial['trial']} {trial['state']}: {trial['steps_completed']} steps"
    text += f" in {duration(trial['wall_seconds'])}"
    metric = searcher["metric"]
    final, best = trial["final"].get(metric), trial["best"].get(metric)
    if final is not None:
        text += f", {metric} {final:.4f}"
    if best is not None and best != final:
        text += f" (best {best:.4f} at step {trial['best']['steps_completed']})"
    return text


def write_report_if_possible(run: RunDirectory, terminal: Terminal) -> bool:
    """Writes report.html; a fault in it is told, and never changes how the run ends."""
    try:
        from det_files.local.report import write_report  # brings matplotlib along

        write_report(run)
    except Exception as error:  # whatever it is, the training is done and its files are there
        terminal.note(f"report.html could not be written: {type(error).__name__}: {error}")
        return False
    return True
