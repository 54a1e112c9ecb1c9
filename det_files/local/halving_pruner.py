"""Determined's halving as an Optuna pruner: its rungs are no power series, as Optuna's own are.

What a trial met at its rungs is kept in the study, beside the trial, so that a search which is
killed goes on with the decisions that it had taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from det_files.rungs import Bracket, goes_on

# User attributes of a trial: the index of its bracket, and where each validation stood in the
# searcher's time metric, {"steps": position}.
BRACKET = "bracket"
POSITIONS = "positions"
# A system attribute: what the trial met, rung by rung.
_RUNGS = "determined:rungs"


@dataclass(frozen=True)
class Visit:
    """A trial at a rung: its metric there, None where it counts as the worst."""

    units: int
    value: float | None
    continues: bool


def visits(trial: FrozenTrial) -> list[Visit]:
    """What the trial met at its rungs so far."""
    return [Visit(**visit) for visit in trial.system_attrs.get(_RUNGS, [])]


class HalvingPruner(BasePruner):
    """Stops a trial at the first rung where it is not among the best 1/divisor; at the last anyway.

    A trial says which bracket it is in, and how far it has come, in its user attributes.
    """

    def __init__(self, brackets: Sequence[Bracket], divisor: float):
        self._brackets = brackets
        self._divisor = divisor

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial ends with the validation that it has just reported.

        Asked again of the same validation, it gives the same answer.
        """
        step = trial.last_step
        if step is None:
            return False
        position = float(trial.user_attrs[POSITIONS][str(step)])
        return self._enter_rungs(study, trial, trial.intermediate_values[step], position)

    def fail(self, study: Study, trial: FrozenTrial) -> None:
        """Puts a trial that has failed into its next rung, as the worst."""
        seen = visits(trial)
        if not seen or seen[-1].continues:
            rungs = self._brackets[trial.user_attrs[BRACKET]].rungs
            for units in rungs[len(seen) :][:1]:
                self._keep(study, trial, [*seen, Visit(units, None, False)])

    def _enter_rungs(self, study: Study, trial: FrozenTrial, value: float, position: float) -> bool:
        seen, bracket = visits(trial), trial.user_attrs[BRACKET]
        rungs = self._brackets[bracket].rungs
        if seen and not seen[-1].continues:
            return True
        known = len(seen)
        for units in rungs[known:]:
            if position < units:
                break
            others = self._values_at(study, bracket, len(seen), but=trial.number)
            ranked = self._rank(study, None if math.isnan(value) else value)
            # The best of nothing but failures is a failure all the same.
            stays = len(seen) < len(rungs) - 1 and not math.isnan(value)
            stays = stays and goes_on(ranked, others, self._divisor)
            seen.append(Visit(units, None if math.isnan(value) else value, stays))
            if not stays:
                break
        if len(seen) > known:
            self._keep(study, trial, seen)
        return bool(seen) and not seen[-1].continues

    def _values_at(self, study: Study, bracket: int, index: int, but: int) -> list[float]:
        """The metrics, smaller is better, of the bracket's other trials at its rung `index`."""
        found = []
        for other in study.get_trials(deepcopy=False):
            if other.number != but and other.user_attrs.get(BRACKET) == bracket:
                of_other: list[dict[str, Any]] = other.system_attrs.get(_RUNGS, [])
                if index < len(of_other):
                    found.append(self._rank(study, of_other[index]["value"]))
        return found

    @staticmethod
    def _rank(study: Study, value: float | None) -> float:
        if value is None:
            return math.inf
        return -value if study.direction == StudyDirection.MAXIMIZE else value

    @staticmethod
    def _keep(study: Study, trial: FrozenTrial, seen: Sequence[Visit]) -> None:
        # As Optuna's own pruners keep what they know.
        rungs = [asdict(visit) for visit in seen]
        study._storage.set_trial_system_attr(trial._trial_id, _RUNGS, rungs)
