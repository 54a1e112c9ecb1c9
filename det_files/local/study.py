"""A search's trials in an Optuna study: which comes next, which stops, what a killed run had.

The study lies in the run directory (`study.db`, SQLite; optuna-dashboard opens it) and is written
before anything follows from it. Trial k's hyperparameters depend on the seed and on k alone, so a
resumed search draws what an uninterrupted one would have drawn, and two searches with one seed try
the same ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from det_files.local.halving_pruner import BRACKET, POSITIONS, HalvingPruner, visits
from det_files.local.search_space import SearchSpace
from det_files.local.study_file import STUDY_FILE, storage_of
from det_files.rungs import (
    DIVISOR,
    HALVING,
    WORST,
    all_brackets,
    smaller_is_better,
    time_metric,
)

_SEED = "seed"  # user attribute of the study
# User attributes of a trial: its best metric; how many had ended before it; that it has failed.
_BEST, _ENDED, _FAILED = "best", "ended", "failed"


class SearchStudy:
    """One search; trials are numbered from 0, as Optuna does."""

    def __init__(
        self,
        path: Path | None,
        name: str,
        searcher: Mapping[str, Any],
        space: SearchSpace,
        seed: int | None = None,
    ):
        """Opens the study in `path`, or begins it.

        Args:
            path: The SQLite file; None keeps the study in memory, for simulations.
            name: The experiment's.
            searcher: Its searcher section, checked: random, grid or one of `HALVING`.
            space: What is searched.
            seed: For a new study's draws; one is made up where it is None.
        """
        self.searcher = dict(searcher)
        self._space = space
        self._points = space.grid() if searcher["name"] == "grid" else []
        self.brackets = all_brackets(searcher, len(self._points))
        self._is_halving = searcher["name"] in HALVING
        self._smaller = smaller_is_better(searcher)
        divisor = float(searcher.get("divisor") or DIVISOR)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=None if path is None else storage_of(path),
            study_name=name,
            direction="minimize" if self._smaller else "maximize",
            pruner=HalvingPruner(self.brackets, divisor) if self._is_halving else NopPruner(),
            load_if_exists=True,
        )
        if _SEED not in self._study.user_attrs:
            self._begin(random.SystemRandom().randrange(2**31) if seed is None else seed)
        for trial in self._trials():
            if _FAILED in trial.user_attrs:
                self.ended(trial.number, failed=True)  # the runner was killed in the midst of it

    @property
    def seed(self) -> int:
        return int(self._study.user_attrs[_SEED])

    @property
    def decides(self) -> bool:
        """Whether validations are decided upon."""
        return self._is_halving

    @property
    def size(self) -> int:
        """How many trials the search has in all."""
        return sum(bracket.trials for bracket in self.brackets)

    def _begin(self, seed: int) -> None:
        self._study.set_user_attr("searcher", self.searcher)
        self._study.set_user_attr("brackets", [asdict(bracket) for bracket in self.brackets])
        self._study.set_user_attr(_SEED, seed)

    @property
    def drawn(self) -> int:
        """How many trials there are so far."""
        return len(self._trials())

    def has_failed(self, number: int) -> bool:
        return self._trial(number).state == TrialState.FAIL

    def unfinished(self) -> list[int]:
        """The trials that have been drawn and have not ended."""
        return [t.number for t in self._trials() if not t.state.is_finished()]

    def next_trial(self) -> int | None:
        """Draws the next trial and returns its number; None where there is none (yet)."""
        number, queue = self.drawn, self._queue()
        if number >= len(queue):
            return None
        if self._points:
            params, distributions = self._points[number], self._space.grid_distributions
        else:
            params, distributions = self._draw(number), self._space.distributions
        # In one transaction: a kill leaves all of the trial or nothing.
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=distributions,
                user_attrs={BRACKET: queue[number]},
            )
        )
        return number

    def _draw(self, number: int) -> dict[str, Any]:
        seed = random.Random(f"{self.seed} {number}").randrange(2**31)
        # A study of its own, because one that is stored takes in each parameter by itself.
        draws = optuna.create_study(sampler=RandomSampler(seed=seed))
        return draws.ask(self._space.distributions).params

    def hyperparameters(self, number: int) -> dict[str, Any]:
        """The whole tree of hyperparameters of a trial."""
        return self._space.fill(self._trial(number).params)

    def validated(self, number: int, step: int, position: float, value: float | None) -> bool:
        """Takes in a validation; True where the trial is to stop there.

        A resumed trial's are told again: one validation has one answer.

        Args:
            number: The trial's.
            step: Optimizer steps.
            position: How far the trial is in the searcher's time metric.
            value: The searcher's metric, None where it is no number.
        """
        frozen = self._trial(number)
        if frozen.state.is_finished() or (frozen.last_step or 0) > step:
            seen = visits(frozen)
            return bool(seen) and not seen[-1].continues and position >= seen[-1].units
        trial = Trial(self._study, frozen._trial_id)
        if step not in frozen.intermediate_values:
            if value is None or abs(value) >= WORST:
                value = math.nan
            if not math.isnan(value):
                best = float(frozen.user_attrs.get(_BEST, value))
                trial.set_user_attr(_BEST, (min if self._smaller else max)(best, value))
            positions = frozen.user_attrs.get(POSITIONS, {}) | {str(step): position}
            trial.set_user_attr(POSITIONS, positions)
            trial.report(value, step)
        return trial.should_prune()

    def ended(self, number: int, failed: bool) -> bool:
        """Notes that a trial has ended; True where it counts as failed, which is the worst.

        One without any number for a metric has failed, too.
        """
        frozen = self._trial(number)
        if frozen.state.is_finished():
            return frozen.state == TrialState.FAIL
        trial = Trial(self._study, frozen._trial_id)
        best, seen = frozen.user_attrs.get(_BEST), visits(frozen)
        # By a count, not by the clock, which may go back.
        trial.set_user_attr(_ENDED, sum(t.state.is_finished() for t in self._trials()))
        if failed or best is None:
            trial.set_user_attr(_FAILED, True)
            if isinstance(self._study.pruner, HalvingPruner):
                self._study.pruner.fail(self._study, frozen)
            self._study.tell(number, state=TrialState.FAIL)
            return True
        if seen and not seen[-1].continues and len(seen) < len(self._rungs(frozen)):
            self._study.tell(number, state=TrialState.PRUNED)
        else:
            self._study.tell(number, best)
        return False

    def describe(self) -> dict[str, Any]:
        """The search's entry in summary.json."""
        facts: dict[str, Any] = {"max_trials": self.size, "seed": self.seed, "study": STUDY_FILE}
        if self._is_halving:
            facts["time_metric"] = time_metric(self.searcher)
            facts["brackets"] = [{"rungs": [*b.rungs], "trials": b.trials} for b in self.brackets]
        return facts

    def describe_trial(self, number: int) -> dict[str, Any]:
        """What the search adds to a trial's entry in summary.json."""
        trial = self._trial(number)
        if not self._is_halving:
            return {"params": dict(trial.params)}
        seen = visits(trial)
        stopped = bool(seen) and not seen[-1].continues and trial.state != TrialState.FAIL
        return {
            "params": dict(trial.params),
            "bracket": trial.user_attrs[BRACKET],
            "rungs": [asdict(visit) for visit in seen],
            "stopped_at": seen[-1].units
            if stopped and len(seen) < len(self._rungs(trial))
            else None,
        }

    def _rungs(self, trial: FrozenTrial) -> Sequence[int]:
        return self.brackets[trial.user_attrs[BRACKET]].rungs

    def _trial(self, number: int) -> FrozenTrial:
        return self._trials()[number]

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _queue(self) -> list[int]:
        """The brackets of all trials created so far on Determined, in order.

        Each bracket begins with as many as it may have at once; whenever a trial ends, its bracket
        has the next one, until its share is used up. (0.38 does not replace a trial that ends by
        itself; here it is.)
        """
        queue = [i for i, b in enumerate(self.brackets) for _ in range(b.concurrent)]
        left = [bracket.trials - bracket.concurrent for bracket in self.brackets]
        ended = [trial for trial in self._trials() if trial.state.is_finished()]
        for trial in sorted(ended, key=lambda trial: trial.user_attrs[_ENDED]):
            bracket = trial.user_attrs[BRACKET]
            if left[bracket] > 0:
                left[bracket] -= 1
                queue.append(bracket)
        return queue
