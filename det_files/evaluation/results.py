"""What an evaluation found: each model's statistics, their estimates, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from det_files.evaluation.bootstrap import compare, estimate
from det_files.evaluation.estimates import CONFIDENCE, Difference, Estimate
from det_files.evaluation.metrics import PER_CENT, Score, Statistics
from det_files.local.text_table import Column, fitted


@dataclass(frozen=True)
class Measured:
    """One model (or one file of answers), by the name of each score.

    Attributes:
        name: as a table heads its column.
        statistics: of its answers or texts.
        records: its answers, as a file of predictions has them.
        seconds: that the answers took; None where they were read.
    """

    name: str
    statistics: Statistics
    records: list[dict[str, Any]] = field(default_factory=list)
    seconds: float | None = None


@dataclass(frozen=True)
class Results:
    """Estimates of one or two models in the order of their scores.

    Attributes:
        scores: by name, what each is.
        estimates: by the score's and then by the model's name.
        differences: the second model's score less the first's; empty of one model.
    """

    scores: Mapping[str, Score]
    estimates: dict[str, dict[str, Estimate]]
    differences: dict[str, Difference]
    models: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds: by score its unit, direction, estimates by model, and difference."""
        found: dict[str, Any] = {}
        for name, by_model in self.estimates.items():
            score = self.scores[name]
            found[name] = {"unit": score.unit, "better": score.better}
            found[name] |= {model: known.to_dict() for model, known in by_model.items()}
            if name in self.differences:
                found[name]["difference"] = self.differences[name].to_dict()
        return found

    def render(self) -> str:
        """A table, a line a score, and what its intervals are."""
        names = list(self.estimates)
        columns = [Column("", [_title(self.scores[name]) for name in names], left=True)]
        for model in self.models:
            cells = [self.estimates[n][model].show(_digits(self.scores[n])) for n in names]
            columns.append(Column(model, cells))
        notes = [f"in brackets: {CONFIDENCE:.0%} intervals".replace("%", " %")]
        if self.differences:
            cells = [self.differences[n].show(_digits(self.scores[n])) for n in names]
            columns.append(Column("difference", cells))
            notes.append(f"difference: {self.models[1]} less {self.models[0]}, row by row")
        return "\n".join([*fitted(lambda _: columns, None), "; ".join(notes)])


def to_results(measured: Sequence[Measured], scores: Mapping[str, Score]) -> Results:
    """Returns the estimates of one or two models that were asked the same."""
    models = tuple(one.name for one in measured)
    names = list(measured[0].statistics)
    estimates = {name: {m.name: estimate(m.statistics[name]) for m in measured} for name in names}
    differences = {}
    if len(measured) == 2:
        first, second = (one.statistics for one in measured)
        differences = {name: compare(first[name], second[name]) for name in names}
    return Results(scores, estimates, differences, models)


def row_scores(statistics: Statistics, row: int) -> dict[str, float]:
    """What each score would be of this row alone."""
    return {
        name: round(float(found.score(found.rows[row])), 6) for name, found in statistics.items()
    }


def _title(score: Score) -> str:
    # Names say any other unit.
    return f"{score.name} (%)" if score.unit == PER_CENT else score.name


def _digits(score: Score) -> int:
    return 1 if score.unit in (PER_CENT, "characters", "tokens") else 3
