"""The report: medians over rounds, ratios of them, and a table that names what failed."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.contenders.measuring import Entrant, summarize
from benchmarks.contenders.work import CEILING, OURS, PADDED, TRL, Contender
from benchmarks.report import lines_of_ratios, ratios, table


def step(seconds: float, tokens: int) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "cpu_seconds": seconds,
        "tokens": tokens,
        "supervised": tokens // 2,
        "loss": 1.0,
    }


def entrant(family: str, rates: list[int], peak_bytes: int = 100, **facts: float) -> Entrant:
    rounds = [summarize([step(1.0, rate)]) for rate in rates]
    return Entrant(Contender(family, "padded"), {"peak_bytes": peak_bytes, **facts}, {}, rounds)


def test_a_turn_is_summed_before_it_is_divided() -> None:
    found = summarize([step(1.0, 100), step(3.0, 500)])
    assert found["tokens_per_second"] == 150.0
    assert found["supervised_per_second"] == 75.0
    assert found["seconds"] == 2.0


def test_ratios_are_of_medians_and_of_the_best_of_each_family() -> None:
    tried = [
        entrant(TRL, [90, 100, 1000], peak_bytes=300, preparation_s=4.0),
        entrant(TRL, [80, 80, 80], peak_bytes=150),
        entrant(PADDED, [50, 50, 50]),
        entrant(OURS, [400, 500, 600], peak_bytes=150, preparation_s=2.0),
        entrant(CEILING, [1000, 1000, 1000]),
    ]
    found = ratios(tried)
    assert found["trl_best"] == 5.0
    assert found["padded_trainer"] == 10.0
    assert found["matrix_ceiling"] == 0.5
    assert found["supervised_trl_best"] == 5.0
    assert found["peak_memory_trl_best"] == 0.5
    assert found["peak_memory_trl_lowest"] == 1.0
    assert found["preparation_trl_best"] == 2.0


def test_what_was_not_measured_has_no_ratio() -> None:
    found = ratios([entrant(OURS, [400])])
    assert found["trl_best"] is None
    assert "not measured" in lines_of_ratios(found)


def test_a_configuration_that_failed_is_named_with_its_reason() -> None:
    failed = Entrant(Contender(TRL, "packed"), error="ended: out of memory")
    ended = Entrant(Contender(TRL, "padded"), {"peak_bytes": 1}, summarize([step(1.0, 10)]))
    text = table([failed, ended, entrant(OURS, [40])])
    lines = text.splitlines()
    assert "failed" in lines[1]
    assert lines[2].startswith("- trl")
    assert lines[3].startswith("* ours")
    assert "packed, float32 weights: ended: out of memory" in text
    assert failed.tokens_per_second == 0.0


@pytest.mark.parametrize("rates", [[3], [1, 3, 4]])
def test_a_median_over_rounds(rates: list[int]) -> None:
    assert entrant(OURS, rates).median("tokens_per_second") == 3.0
