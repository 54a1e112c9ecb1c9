"""The report of a comparison: ratios of medians, and everything as a table of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contenders.measuring import Entrant
from benchmarks.contenders.work import CEILING, OURS, PADDED, TRL

MEBIBYTE = 1024 * 1024
_HEADINGS = (
    "contender|configuration|tokens/s|supervised/s|s a step|cores|loss|MiB|data s|first s|compile s"
)


def ratios(tried: Sequence[Entrant]) -> dict[str, float | None]:
    """Ours over the others, None where one is missing.

    - trl_best, padded_trainer, matrix_ceiling: non-padding tokens a second;
    - supervised_…: supervised tokens a second;
    - peak_memory_…: our peak over TRL's, of its fastest and of its most frugal configuration;
    - preparation_trl_best: TRL's seconds of data preparation over ours from an empty cache.
    """
    ours, trl = best(tried, OURS), best(tried, TRL)
    padded, ceiling = best(tried, PADDED), best(tried, CEILING)
    peaks = [e.facts["peak_bytes"] for e in tried if e.contender.family == TRL and not e.error]
    speed, supervised = "tokens_per_second", "supervised_per_second"
    return {
        "trl_best": _over(_median(ours, speed), _median(trl, speed)),
        "padded_trainer": _over(_median(ours, speed), _median(padded, speed)),
        "matrix_ceiling": _over(_median(ours, speed), _median(ceiling, speed)),
        "supervised_trl_best": _over(_median(ours, supervised), _median(trl, supervised)),
        "supervised_padded_trainer": _over(_median(ours, supervised), _median(padded, supervised)),
        "peak_memory_trl_best": _over(_fact(ours, "peak_bytes"), _fact(trl, "peak_bytes")),
        "peak_memory_trl_lowest": _over(_fact(ours, "peak_bytes"), min(peaks, default=None)),
        "preparation_trl_best": _over(_fact(trl, "preparation_s"), _fact(ours, "preparation_s")),
    }


def best(tried: Sequence[Entrant], family: str) -> Entrant | None:
    """The fastest of a family among those that went through the rounds."""
    found = [e for e in tried if e.contender.family == family and e.rounds and not e.error]
    return max(found, key=lambda entrant: entrant.tokens_per_second, default=None)


def _median(entrant: Entrant | None, name: str) -> float | None:
    return None if entrant is None else entrant.median(name)


def _fact(entrant: Entrant | None, name: str) -> float | None:
    return None if entrant is None else entrant.facts.get(name)


def _over(number: float | None, by: float | None) -> float | None:
    return None if number is None or not by else number / by


def table(tried: Sequence[Entrant]) -> str:
    """A line a configuration: the fastest of each family first marked with *."""
    winners = [best(tried, family) for family in (OURS, TRL, PADDED, CEILING)]
    lines = [_HEADINGS.split("|")]
    notes = []
    for entrant in tried:
        mark = "*" if entrant in winners else " " if entrant.rounds else "-"
        lines.append([f"{mark} {entrant.contender.family}", entrant.contender.name])
        if entrant.error:
            lines[-1].append("failed")
            notes.append(f"{entrant.contender.name}: {entrant.error}")
        else:
            lines[-1] += _cells(entrant)
    notes += ["* fastest of its family; - tried alone and ended, figures of that trial"]
    notes += ["cores: processor time over time; where it is low, others were using the machine"]
    notes += ["MiB: peak of the process, or on a GPU of allocated memory; data s: preparation"]
    return "\n".join([*_aligned(lines), "", *notes])


def _cells(entrant: Entrant) -> list[str]:
    facts = entrant.facts
    peak = facts.get("peak_bytes")
    return [
        _number(entrant.median("tokens_per_second"), 1),
        _number(entrant.median("supervised_per_second"), 1),
        _number(entrant.median("seconds"), 3),
        _number(entrant.median("cores"), 2),
        _number(entrant.median("loss"), 3),
        _number(None if peak is None else peak / MEBIBYTE, 0),
        _preparation(facts),
        _number(facts.get("first_step_s"), 1),
        _number(facts.get("compile_s") or None, 1),
    ]


def _preparation(facts: dict[str, Any]) -> str:
    cached = facts.get("cached_preparation_s")
    shown = _number(facts.get("preparation_s"), 2)
    return shown if cached is None else f"{shown} ({cached:.2f} cached)"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text on the left, of numbers on the right."""
    width = max(map(len, lines))
    filled = [[*line, *[""] * (width - len(line))] for line in lines]
    sizes = [max(len(line[i]) for line in filled) for i in range(width)]
    return [
        "  ".join(
            cell.ljust(size) if i < 2 else cell.rjust(size)
            for i, (cell, size) in enumerate(zip(line, sizes, strict=True))
        ).rstrip()
        for line in filled
    ]


def lines_of_ratios(found: dict[str, float | None]) -> str:
    """One ratio a line."""
    words = {
        "trl_best": "ours / TRL's best, tokens/s",
        "padded_trainer": "ours / padded Trainer, tokens/s",
        "matrix_ceiling": "ours / matrix ceiling, tokens/s",
        "supervised_trl_best": "ours / TRL's best, supervised tokens/s",
        "supervised_padded_trainer": "ours / padded Trainer, supervised tokens/s",
        "peak_memory_trl_best": "peak memory, ours / TRL's fastest",
        "peak_memory_trl_lowest": "peak memory, ours / TRL's lowest",
        "preparation_trl_best": "data preparation, TRL's seconds / ours (empty cache)",
    }
    return "\n".join(
        f"{words[name]:<54}{'not measured' if value is None else f'{value:.2f}'}"
        for name, value in found.items()
    )
