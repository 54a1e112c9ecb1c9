"""Runs an experiment file on this machine: `python -m det_files.local EXPERIMENT.yaml`."""

import sys
from collections.abc import Sequence

from det_files.faults import EXIT_CONFIGURATION, ConfigError
from det_files.local.arguments import LocalArguments, parse_arguments
from det_files.local.outcome import show_outcome
from det_files.local.plan import Check, Loader, Plan, facts_of, plan_new, plan_resumed
from det_files.local.run_directory import RunDirectory
from det_files.local.runner import Runner
from det_files.local.searches import is_over, make_search
from det_files.local.stop_requests import StopRequests
from det_files.local.summary import update_summary
from det_files.local.terminal import Terminal
from det_files.validate import check_experiment, load_whole


def main(
    argv: Sequence[str] | None = None,
    load: Loader = load_whole,
    check: Check = check_experiment,
) -> int:
    """Runs or resumes an experiment; returns the exit code.

    Args:
        argv: The command line, `sys.argv` where None.
        load: Reads an experiment file.
        check: Raises a ConfigError where the experiment cannot run with so many slots.
    """
    arguments = parse_arguments(argv)
    terminal = Terminal()
    try:
        if arguments.resume is None:
            plan = plan_new(arguments, load, check, terminal)
            return carry_out(plan, arguments, terminal)
        run = RunDirectory.open(arguments.resume)
        summary = run.read_summary()
        if is_over(summary.get("trials", []), summary.get("search")):
            terminal.note("This run has completed; there is nothing to resume.")
            show_outcome(run, terminal)
            return 0
        plan = plan_resumed(arguments, run, load, check, terminal)
        return carry_out(plan, arguments, terminal)
    except ConfigError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_CONFIGURATION
    except KeyboardInterrupt:
        terminal.note("Stopped; nothing was started.")
        return 1


def carry_out(plan: Plan, arguments: LocalArguments, terminal: Terminal) -> int:
    """Runs the plan's trials; whatever happens, summary and report are written and shown."""
    with StopRequests() as stops:
        run = plan.run
        if run is None:
            run = RunDirectory.allocate(arguments.runs_dir, plan.experiment.name)
            plan.experiment.write(run.experiment_file)
        try:
            facts = facts_of(plan, run.read_summary())
            if not run.summary_file.exists():  # from here on the run can be resumed
                run.write_summary(update_summary({}, [], facts))
            search = make_search(plan.experiment, run)
            given = (plan.experiment, search, plan.resources, run, facts, terminal, stops)
            return Runner(*given).run()
        except OSError as error:
            terminal.note(f"The run failed: {error}")
            return 1
        finally:
            show_outcome(run, terminal)


if __name__ == "__main__":
    sys.exit(main())
