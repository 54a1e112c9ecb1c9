"""Estimates as text and JSON, and Wilson's interval against published values."""

import json

import pytest

from det_files.evaluation.estimates import Difference, Estimate, estimate_share


def test_shown_and_written() -> None:
    found = Estimate(45.25, 41.04, 49.96, 200)
    assert found.show() == "45.2 [41.0, 50.0]"
    assert found.show(digits=2) == "45.25 [41.04, 49.96]"
    assert json.loads(json.dumps(found.to_dict())) == {
        "value": 45.25,
        "low": 41.04,
        "high": 49.96,
        "rows": 200,
    }
    difference = Difference(4.2, -1.0, 7.3, 200, 0.0125)
    assert difference.show() == "+4.2 [-1.0, +7.3], p = 0.013"
    assert difference.to_dict()["p_value"] == 0.0125


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [
        # Newcombe 1998, table I, "score" without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval(hits: int, rows: int, low: float, high: float) -> None:
    found = estimate_share(hits, rows)
    assert (found.value, found.rows) == (hits / rows, rows)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_a_share_of_none_or_all_has_an_interval() -> None:
    none, every = estimate_share(0, 200, scale=100), estimate_share(200, 200, scale=100)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1.88, abs=0.01)
    assert (every.value, every.high) == (100.0, 100.0)
    assert every.low == pytest.approx(100 - none.high)


@pytest.mark.parametrize(("hits", "rows"), [(0, 0), (3, 2), (-1, 2)])
def test_hits_are_of_the_rows(hits: int, rows: int) -> None:
    with pytest.raises(ValueError, match=f"{hits} hits of {rows} rows"):
        estimate_share(hits, rows)
