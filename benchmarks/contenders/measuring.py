"""Measuring: configurations tried one after another, then the best ones in turns.

Every configuration of a family runs a few steps by itself; all but the best are ended. What is
left takes turns, round after round, so that whatever else the machine does hits all alike.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders.process import ContenderFailed, Process
from benchmarks.contenders.work import Contender, Work

Steps = list[dict[str, Any]]
# A runner-up so near to the best of its family goes on with it.
_NEARLY_AS_GOOD = 0.8
_WARM_UP = 2
_LONGEST_WARM_UP = 10


@dataclass
class Entrant:
    """A configuration and all that was measured of it.

    Attributes:
        trial: what it did by itself: see `summarize`.
        rounds: what it did in each round, likewise.
        error: why there is no measurement.
    """

    contender: Contender
    facts: dict[str, Any] = field(default_factory=dict)
    trial: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    process: Process | None = None

    @property
    def tokens_per_second(self) -> float:
        """The median of its rounds; before them, of its trial; 0 where there is none."""
        return self.median("tokens_per_second") or 0.0

    def median(self, name: str) -> float | None:
        """The median over rounds of one of their figures; before them, the trial's."""
        found = [measured.get(name) for measured in self.rounds or [self.trial]]
        known = [value for value in found if value is not None]
        return statistics.median(known) if known else None

    def to_mapping(self) -> dict[str, Any]:
        """Everything as plain values."""
        names = ("tokens_per_second", "supervised_per_second", "seconds", "loss")
        return {
            "family": self.contender.family,
            "name": self.contender.name,
            "settings": asdict(self.contender),
            "error": self.error,
            **self.facts,
            "trial": self.trial,
            "rounds": self.rounds,
            "medians": {name: self.median(name) for name in names} if self.rounds else None,
        }


def summarize(steps: Steps) -> dict[str, Any]:
    """Tokens a second over some steps, cores in use (fewer: others had them), means a step."""
    seconds = sum(step["seconds"] for step in steps)
    tokens, supervised = (sum(step[key] for step in steps) for key in ("tokens", "supervised"))
    losses = [step["loss"] for step in steps if step["loss"] is not None]
    gflops = [step["gflops_per_second"] for step in steps if "gflops_per_second" in step]
    return {
        "steps": len(steps),
        "seconds": seconds / len(steps),
        "tokens": tokens / len(steps),
        "supervised": supervised / len(steps),
        "cores": sum(step["cpu_seconds"] for step in steps) / seconds,
        "tokens_per_second": tokens / seconds,
        "supervised_per_second": supervised / seconds,
        "loss": statistics.mean(losses) if losses else None,
        **({"gflops_per_second": statistics.mean(gflops)} if gflops else {}),
    }


class Measuring:
    """The processes of one comparison."""

    def __init__(self, work: Work, place: Path, steps: int, limit_s: float) -> None:
        """`steps` are those of a turn; `limit_s` is what a contender may take until it is warm."""
        self.work = work
        self.tried: list[Entrant] = []
        self._place = place
        self._steps = steps
        self._limit_s = limit_s

    def try_out(self, contender: Contender) -> Entrant:
        """Starts a configuration and measures it alone; it waits when it is done."""
        entrant = Entrant(contender)
        self.tried.append(entrant)
        place = self._place / f"{len(self.tried)}-{contender.family}"
        entrant.process = Process(self.work, contender, place)
        try:
            self._warm_up(entrant)
            steps = self._turn(entrant)
        except ContenderFailed as error:
            entrant.error = str(error)
            self._end(entrant)
        else:
            entrant.trial = summarize(steps)
        say(entrant)
        return entrant

    def best_of(self, candidates: Iterable[Contender], keep: int = 1) -> list[Entrant]:
        """Tries all; the best `keep` (those near to the best) stay alive, the best one first."""
        best: list[Entrant] = []
        for contender in candidates:
            best = self.keep([*best, self.try_out(contender)], keep)
        return best

    def keep(self, entrants: Sequence[Entrant], count: int) -> list[Entrant]:
        """Ends all but the best `count` of them, and those that are far behind the best."""
        alive = [entrant for entrant in entrants if entrant.error is None]
        alive.sort(key=lambda entrant: -entrant.tokens_per_second)
        least = alive[0].tokens_per_second * _NEARLY_AS_GOOD if alive else 0.0
        kept = [entrant for entrant in alive[:count] if entrant.tokens_per_second >= least]
        for entrant in alive:
            if entrant not in kept:
                self._end(entrant)
        return kept

    def rounds(self, entrants: Sequence[Entrant], count: int) -> None:
        """Lets all take turns of some steps; who begins changes from round to round."""
        for number in range(count):
            first = number % max(1, len(entrants))
            for entrant in [*entrants[first:], *entrants[:first]]:
                if entrant.error is not None:
                    continue
                try:
                    entrant.rounds.append(summarize(self._turn(entrant)))
                except ContenderFailed as error:
                    entrant.error = str(error)
                    self._end(entrant)
                say(entrant, number + 1)

    def end(self) -> None:
        """Ends every process."""
        for entrant in self.tried:
            self._end(entrant)

    def _warm_up(self, entrant: Entrant) -> None:
        """The first steps: two, and where something is compiled, until nothing more is."""
        assert entrant.process is not None
        deadline = time.monotonic() + self._limit_s
        entrant.process.get_ready(deadline)
        entrant.facts = dict(entrant.process.facts)
        steps = entrant.process.steps(_WARM_UP, deadline)
        while _still_compiling(steps) and len(steps) < _LONGEST_WARM_UP:
            steps += entrant.process.steps(1, deadline)
        entrant.facts |= {
            "first_step_s": steps[0].get("first_step_s"),
            "warm_up_steps": len(steps),
        }

    def _turn(self, entrant: Entrant) -> Steps:
        assert entrant.process is not None
        steps = entrant.process.steps(self._steps, time.monotonic() + self._limit_s)
        last = steps[-1]
        entrant.facts |= {"peak_bytes": last["peak_bytes"], "compile_s": last["compile_seconds"]}
        return steps

    def _end(self, entrant: Entrant) -> None:
        if entrant.process is not None:
            entrant.process.stop()
            entrant.process = None


def _still_compiling(steps: Steps) -> bool:
    seconds = [step["compile_seconds"] for step in steps]
    # After the second step nothing but lengths that were not met yet can be compiled.
    return any(later > earlier for earlier, later in itertools.pairwise(seconds[-2:]))


def say(entrant: Entrant, number: int | None = None) -> None:
    """One line on stderr, as a sign of life."""
    when = "alone" if number is None else f"round {number}"
    last = entrant.rounds[-1] if entrant.rounds and number is not None else entrant.trial
    what = entrant.error or f"{last['tokens_per_second']:.1f} tokens/s"
    print(f"{when}: {entrant.contender.family}: {entrant.contender.name}: {what}", file=sys.stderr)
