"""Measures which DeepSpeed configuration trains an experiment fastest on this machine.

    python -m det_files.autotune experiments/swallow_7b_ds2.yaml --keep-global-batch

Its trials are those of the local runner (det_files.local); runs/<experiment>_autotune/<number>/ has
them, summary.json, report.html, best_experiment.yaml and best_deepspeed.json.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from det_files.autotune.arguments import AutotuneArguments, parse_arguments
from det_files.autotune.metrics import PEAK_MEMORY
from det_files.autotune.outcome import conclude
from det_files.autotune.plan import AutotunePlan, plan_new, plan_resumed
from det_files.autotune.search import AutotuneSearch
from det_files.faults import EXIT_CONFIGURATION, ConfigError, Faults
from det_files.local.outcome import write_report_if_possible
from det_files.local.plan import Plan, facts_of, own_command
from det_files.local.run_directory import RunDirectory
from det_files.local.runner import Runner
from det_files.local.stop_requests import StopRequests
from det_files.local.summary import update_summary
from det_files.local.terminal import Terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Tunes, or goes on tuning; returns the exit code."""
    terminal, faults = Terminal(module="det_files.autotune"), Faults()
    arguments = parse_arguments(argv, faults)
    try:
        if arguments.resume is None:
            plan = plan_new(arguments, faults, terminal)
        else:
            faults.raise_if_any("the command line")
            plan = plan_resumed(RunDirectory.open(arguments.resume), terminal)
        return carry_out(plan, arguments, terminal)
    except ConfigError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_CONFIGURATION
    except KeyboardInterrupt:
        terminal.note("Stopped; nothing was started.")
        return 1


def carry_out(plan: AutotunePlan, arguments: AutotuneArguments, terminal: Terminal) -> int:
    """Runs the plan's trials and says what they came to; also after a stop."""
    with StopRequests() as stops:
        run = plan.run
        if run is None:
            run = RunDirectory.allocate(arguments.runs_dir, f"{plan.experiment.name}_autotune")
            plan.write(run)
        described = {
            "name": "autotune",
            "metric": plan.metric,
            "smaller_is_better": plan.metric == PEAK_MEMORY,
        }
        local = Plan(plan.experiment, plan.resources, own_command(terminal), run)
        facts = facts_of(local, run.read_summary()) | {"searcher": described}
        if not run.summary_file.exists():  # from here on the run can be resumed
            run.write_summary(update_summary({}, [], facts))
        grid = bool(plan.asked["grid"])
        search = AutotuneSearch(run, plan.space, plan.derive, plan.metric, plan.trials, grid=grid)
        terminal.note(
            f"{plan.size} configurations, {len(plan.found.reasons)} cut; at most {plan.trials} "
            f"trials on {plan.resources}"
        )
        try:
            given = (plan.experiment, search, plan.resources, run, facts, terminal, stops)
            return Runner(*given).run()
        except OSError as error:
            terminal.note(f"The run failed: {error}")
            return 1
        finally:
            _show(plan, run, search, terminal)


def _show(
    plan: AutotunePlan, run: RunDirectory, search: AutotuneSearch, terminal: Terminal
) -> None:
    try:
        for line in conclude(plan, run, search):
            terminal.result(line)
        if write_report_if_possible(run, terminal):
            terminal.result(f"report: {terminal.path(run.report_file)}")
        if not search.is_over:
            terminal.result(f"resume with: {terminal.command('--resume', terminal.path(run.path))}")
    except (ConfigError, OSError) as error:
        terminal.note(str(error))
    finally:
        terminal.result(terminal.path(run.path))


if __name__ == "__main__":
    sys.exit(main())
