"""What an autotuning leaves: a table, best_experiment.yaml, best_deepspeed.json, how sure it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from det_files.autotune.metrics import PEAK_MEMORY, SPREAD, THROUGHPUT
from det_files.autotune.plan import AutotunePlan
from det_files.autotune.ranking import Measurement, Ranked, confidence, rank
from det_files.autotune.search import AutotuneSearch, measurement_of, outcome_of
from det_files.autotune.space import Candidate
from det_files.autotune.strategy import MEASURED
from det_files.autotune.trials import tuned_experiment
from det_files.experiment import to_yaml
from det_files.local.run_directory import RunDirectory, write_atomically
from det_files.local.text_table import Column, fitted
from det_files.memory.estimate import GIBIBYTE
from det_files.validate import check_experiment

EXPERIMENT_FILE = "best_experiment.yaml"
DEEPSPEED_FILE = "best_deepspeed.json"


def conclude(plan: AutotunePlan, run: RunDirectory, search: AutotuneSearch) -> list[str]:
    """Writes the files and summary.json's entry `autotune`; returns the lines to show."""
    smallest = plan.metric == PEAK_MEMORY
    ranked = rank(measurements(search, plan.metric), smallest)
    sure = confidence(ranked, smallest)
    summary = run.read_summary()
    entry: dict[str, Any] = {
        **plan.asked,
        "configurations": plan.size,
        "cut": len(plan.found.reasons),
        "trials": len(search.trials()),
        "most_trials": plan.trials,
        "finished": search.is_over,
        "ranking": [_mapping(one) for one in ranked],
        "cut_for": [c.to_mapping() | {"reason": why} for c, why in plan.found.reasons.items()],
        "confidence": sure,
    }
    lines = table(ranked) + _left_out(plan, search)
    best = next((one for one in ranked if one.outcome == MEASURED), None)
    if best is not None:
        _write_best(plan, run, best, sure)
        entry |= {"best": best.candidate.to_mapping(), "best_experiment": EXPERIMENT_FILE}
        entry["best_deepspeed"] = DEEPSPEED_FILE
        summary["best_trial"] = best.trials[0]
        lines.append(f"best: {best.candidate}")
    lines.append(f"confidence: {sure}")
    run.write_summary(summary | {"autotune": entry})
    return lines


def measurements(search: AutotuneSearch, metric: str) -> list[Measurement]:
    """The trials that have ended, with what they have measured."""
    found = []
    for trial in search.trials():
        outcome = outcome_of(trial, metric)
        if outcome is None:
            continue
        row = measurement_of(trial, metric)
        values = {n: (row.number(n) if row else None) or 0.0 for n in (THROUGHPUT, SPREAD)}
        memory = (row.number(PEAK_MEMORY) if row else None) or 0.0
        candidate = search.candidate_of(trial)
        found.append(
            Measurement(
                trial.number, candidate, outcome, values[THROUGHPUT], values[SPREAD], memory
            )
        )
    return found


def _mapping(one: Ranked) -> dict[str, Any]:
    return one.candidate.to_mapping() | {
        "outcome": one.outcome,
        "trials": list(one.trials),
        "throughput": one.throughput or None,
        "error": one.error or None,
        "peak_memory": one.peak_memory or None,
    }


def _write_best(plan: AutotunePlan, run: RunDirectory, best: Ranked, sure: str) -> None:
    tuned = tuned_experiment(plan.experiment, plan.args, best.candidate)
    text = (
        f"# {plan.experiment.name} with the best of {plan.size} configurations by {plan.metric}: "
        f"{best.candidate}.\n"
        f"# {best.throughput:.6g} tokens/s and {best.peak_memory / GIBIBYTE:.2f} GiB a rank at the "
        f"most, on {plan.resources}; {sure}.\n"
    )
    write_atomically(run.path / EXPERIMENT_FILE, text + to_yaml(tuned.config))
    deepspeed = check_experiment(tuned, plan.resources.slots).deepspeed
    write_atomically(run.path / DEEPSPEED_FILE, json.dumps(deepspeed, indent=2) + "\n")


def table(ranked: Sequence[Ranked]) -> list[str]:
    """A line a configuration, best first."""
    head = ["configuration", "tokens/s", "±", "peak GiB", "trials", "result"]
    body = [
        [
            str(one.candidate),
            f"{one.throughput:,.1f}" if one.throughput else "",
            f"{one.error:,.1f}" if one.throughput else "",
            f"{one.peak_memory / GIBIBYTE:.2f}" if one.peak_memory else "",
            ", ".join(map(str, one.trials)),
            one.outcome,
        ]
        for one in ranked
    ]
    columns = [
        Column(title, [line[index] for line in body], left=not 0 < index < 4)
        for index, title in enumerate(head)
    ]
    return fitted(lambda _: columns, None)


def _left_out(plan: AutotunePlan, search: AutotuneSearch) -> list[str]:
    """What was not measured, and why: a line for each combination and kind of reason."""
    first: dict[tuple[str, str], tuple[Candidate, str, int]] = {}
    for candidate, reason in plan.found.reasons.items():
        key = (str(candidate.combination), reason.rstrip("0123456789. ").partition(" about ")[0])
        known = first.get(key)
        first[key] = (known[0], known[1], known[2] + 1) if known else (candidate, reason, 1)
    lines = []
    for candidate, reason, count in first.values():
        more = f" (and {count - 1} larger)" if count > 1 else ""
        lines.append(f"cut: {candidate}{more}: {reason}")
    tried = {search.candidate_of(trial) for trial in search.trials()}
    passed = sum(candidate not in tried for candidate in plan.found.candidates)
    if passed and search.is_over:
        lines.append(f"passed over by the search: {passed} of {len(plan.found.candidates)}")
    return lines + [f"note: {note}" for note in plan.found.notes]
