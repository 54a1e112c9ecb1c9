"""What is said at the end of a run; the last line on stdout is the run directory."""

from typing import Any

from det_files.faults import ConfigError
from det_files.local.progress import duration
from det_files.local.run_directory import RunDirectory
from det_files.local.search_rows import row_of
from det_files.local.search_table import best_line, final_lines
from det_files.local.searches import is_over
from det_files.local.summary import State
from det_files.local.terminal import Terminal
from det_files.trial_files import CONFIG_ERROR_FILE


def show_outcome(run: RunDirectory, terminal: Terminal) -> None:
    """Writes the report and shows how each trial ended, how to resume, and where it all lies."""
    try:
        summary = run.read_summary()
        for line in outcome_lines(summary, run, terminal):
            terminal.result(line)
        if write_report_if_possible(run, terminal):
            terminal.result(f"report: {terminal.path(run.report_file)}")
        if can_go_on(summary, run):
            terminal.result(f"resume with: {terminal.command('--resume', terminal.path(run.path))}")
    except ConfigError as error:
        terminal.note(str(error))
    finally:
        terminal.result(terminal.path(run.path))


def outcome_lines(summary: dict[str, Any], run: RunDirectory, terminal: Terminal) -> list[str]:
    """Returns how each trial ended; of a search a table, and what the best trial was."""
    trials = summary.get("trials", [])
    if "search" not in summary:
        return [outcome_line(trial, summary["searcher"]) for trial in trials]
    searcher = summary["searcher"]
    rows = [row_of(trial, searcher["metric"]) for trial in trials]
    lines = final_lines(rows, searcher, terminal.result_width)
    best = [r for r in rows if r.number == summary["best_trial"] and r.best is not None]
    lines += [best_line(row, searcher["metric"]) for row in best]
    best_experiment = summary["search"].get("best_experiment")
    if best_experiment:
        lines.append(f"experiment with them: {terminal.path(run.path / best_experiment)}")
    return lines


def can_go_on(summary: dict[str, Any], run: RunDirectory) -> bool:
    """Whether resuming would do anything.

    A search goes on until all its trials have ended, failed ones included: those count as worst.
    """
    trials = summary.get("trials", [])
    if "search" not in summary:
        return any(is_resumable(trial, run) for trial in trials)
    return not is_over(trials, summary["search"])


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
