"""What adaptive ASHA saves against training every trial to its end, and what it costs.

    python -m det_files.local experiments/smollm2_135m_asha.yaml
    python -m det_files.local experiments/smollm2_135m_asha.yaml --set 'searcher={name: random,
      metric: eval_loss, max_trials: 16, max_concurrent_trials: 2}'
      --set hyperparameters.training_arguments.eval_steps=4
    python -m benchmarks.asha runs/smollm2_135m_asha/1 runs/smollm2_135m_asha/2

The two runs have one seed, so they try the same hyperparameters. From the curves of the full trials
searches are then simulated: the same 16 trials in another order, decided by the same code. For that
the full trials are validated at the rungs (4, 16 and 64 steps), too.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from det_files.experiment import load_experiment
from det_files.local.metrics import VALIDATION, read_rows
from det_files.local.run_directory import RunDirectory
from det_files.local.search_space import SearchSpace
from det_files.local.study import SearchStudy
from det_files.rungs import decision_points, smaller_is_better

Curve = Mapping[int, float]  # steps → the searcher's metric
NOTHING_SEARCHED = SearchSpace({})


@dataclass(frozen=True)
class Outcome:
    """A search's cost and result beside those of training everything to the end."""

    share: float  # of the full trials' steps
    regret: float  # of its best metric, relative to the best of the full trials
    stopped: int  # trials


def trials_of(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's summary.json."""
    return RunDirectory(run).read_summary()["trials"]


def curve_of(run: Path, trial: int, metric: str) -> dict[int, float]:
    """A trial's validations."""
    rows = read_rows(run / "trials" / str(trial) / "metrics.jsonl")
    found = {row.steps: row.number(metric) for row in rows if row.group == VALIDATION}
    return {steps: value for steps, value in found.items() if value is not None}


def full_curves(full: Path, search: Path, metric: str) -> list[dict[int, float]]:
    """The full trials' curves, each with what the same trial of the search has before its end.

    Raises:
        SystemExit: The two runs did not try the same hyperparameters, or a trial has no value at a
            rung.
    """
    points = decision_points(load_experiment(search / "experiment.yaml").searcher)
    of_search = {str(sorted(t["params"].items())): t["trial"] for t in trials_of(search)}
    curves = []
    for trial in trials_of(full):
        twin = of_search.get(str(sorted(trial["params"].items())))
        if twin is None:
            raise SystemExit(f"trial {trial['trial']} of {full} is not among those of {search}")
        curve = curve_of(search, twin, metric) | curve_of(full, trial["trial"], metric)
        if missing := [point for point in points if point not in curve]:
            raise SystemExit(
                f"trial {trial['trial']} of {full} was not validated at {missing[0]} steps: run it "
                f"with --set hyperparameters.training_arguments.eval_steps={points[0]}"
            )
        curves.append(curve)
    return curves


def simulate(searcher: Mapping[str, Any], curves: Sequence[Curve], lanes: int) -> Outcome:
    """One search over trials with these curves, in this order; every step takes equally long.

    The metric is smaller when it is better.
    """
    study = SearchStudy(None, "simulation", searcher, NOTHING_SEARCHED, seed=0)
    points = decision_points(searcher)
    active: list[tuple[int, int, int]] = []  # (time of its next validation, trial, its index)
    clock, steps, best, stopped = 0, 0, float("inf"), 0
    while True:
        while len(active) < lanes and (number := study.next_trial()) is not None:
            active.append((clock + points[0], number, 0))
        if not active:
            break
        event = min(active)
        active.remove(event)
        clock, number, index = event
        value = curves[number][points[index]]
        if study.validated(number, points[index], points[index], value):
            study.ended(number, failed=False)
            steps, best = steps + points[index], min(best, value)
            stopped += points[index] < points[-1]
        else:
            active.append((clock + points[index + 1] - points[index], number, index + 1))
    ends = [curve[points[-1]] for curve in curves]
    return Outcome(steps / (len(curves) * points[-1]), best / min(ends) - 1, stopped)


def simulations(
    searcher: Mapping[str, Any], curves: Sequence[Curve], lanes: int, count: int
) -> list[Outcome]:
    """`count` searches over the curves in random orders; the same ones at each call."""
    rng = random.Random(0)
    return [simulate(searcher, rng.sample(curves, len(curves)), lanes) for _ in range(count)]


def compare(search: Path, full: Path, count: int) -> str:
    """The report on a search and the full trials, with `count` simulated searches."""
    searcher = load_experiment(search / "experiment.yaml").searcher
    if not smaller_is_better(searcher):
        raise SystemExit("only metrics that are smaller for the better are compared")
    metric, points = str(searcher["metric"]), decision_points(searcher)
    tried, trained = trials_of(search), trials_of(full)
    curves = full_curves(full, search, metric)
    share = sum(t["steps_completed"] for t in tried) / sum(t["steps_completed"] for t in trained)
    best, reference = (min(t["best"][metric] for t in trials) for trials in (tried, trained))
    lines = [
        f"search: {len(tried)} trials, best {metric} {best:.4f}, {share:.1%} of the steps",
        f"full:   {len(trained)} trials, best {metric} {reference:.4f}",
        f"the search's best is {best / reference - 1:+.2%} of the full trials' best",
    ]
    lanes = searcher.get("max_concurrent_trials") or 1
    outcomes = simulations(searcher, curves, lanes, count)
    shares = sorted(outcome.share for outcome in outcomes)
    regrets = sorted(outcome.regret for outcome in outcomes)

    def spread(values: Sequence[float]) -> str:
        parts = [values[int(q * (len(values) - 1))] for q in (0, 0.05, 0.5, 0.95, 1)]
        return ", ".join(f"{value:.1%}" for value in parts)

    both = sum(o.share <= 0.5 and o.regret <= 0.01 for o in outcomes) / count
    lines += [
        f"{count} simulated searches over these trials in other orders, rungs {points}:",
        f"  share of steps (least, 5 %, median, 95 %, most): {spread(shares)}",
        f"  best {metric} beyond the full trials' best:       {spread(regrets)}",
        f"  at most 50 % of the steps: {sum(share <= 0.5 for share in shares) / count:.1%}; "
        f"within 1 % of the best: {sum(regret <= 0.01 for regret in regrets) / count:.1%}; "
        f"both: {both:.1%}",
        f"  trials stopped early (median): {median(outcome.stopped for outcome in outcomes):g}",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.asha", description=__doc__)
    parser.add_argument("search", type=Path, help="the run directory of the halving search")
    parser.add_argument("full", type=Path, help="that of the same trials, all trained to the end")
    parser.add_argument("--simulations", type=int, default=1000)
    options = parser.parse_args()
    print(compare(options.search, options.full, options.simulations))


if __name__ == "__main__":
    main()
