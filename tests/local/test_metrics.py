"""Reading metrics.jsonl as crashes and restarts leave it; final and best values."""

import json
from pathlib import Path

import pytest

from det_files.local.metrics import (
    Row,
    RowTail,
    best_row,
    final_metrics,
    numbers,
    read_rows,
    series,
    standing_rows,
)


def line(group: str, steps: int, **metrics: float) -> str:
    row = {"time": 5.0, "group": group, "steps_completed": steps, "metrics": metrics}
    return json.dumps(row) + "\n"


def row(group: str, steps: int, **metrics: float) -> Row:
    return Row(5.0, group, steps, metrics)


def test_a_torn_last_line_is_left_out_until_it_is_whole(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    whole, torn = line("training", 1, loss=2.0), line("training", 2, loss=1.5)
    metrics.write_text(whole + torn[:20])
    tail = RowTail(metrics)
    assert tail.poll() == [row("training", 1, loss=2.0)]
    assert [r.steps for r in read_rows(metrics)] == [1]
    with open(metrics, "a") as file:
        file.write(torn[20:])
    assert tail.poll() == [row("training", 2, loss=1.5)]
    assert tail.poll() == []


def test_a_torn_line_that_was_closed_by_the_runner_is_skipped(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(line("training", 1, loss=2.0)[:30] + "\n" + line("training", 2, loss=1.5))
    assert [r.steps for r in read_rows(metrics)] == [2]


def test_no_file_means_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("text", ["[]", "3", '{"time": 1}', '{"time": null}', "nonsense"])
def test_lines_that_are_no_rows_are_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text + "\n" + line("training", 2, loss=1.5))
    assert [r.steps for r in read_rows(tmp_path / "metrics.jsonl")] == [2]


def test_the_last_row_of_a_step_stands() -> None:
    rows = [row("training", 1, loss=3.0), row("validation", 1, eval_loss=9.0)]
    again = row("training", 1, loss=2.0)
    assert standing_rows([*rows, again]) == [rows[1], again]


def test_a_restart_takes_back_what_lay_beyond_it() -> None:
    first = [row("training", s, loss=float(s)) for s in (9, 10, 11, 12)]
    first.append(row("validation", 12, eval_loss=1.0))
    second = [row("training", 11, loss=0.5)]
    assert standing_rows(first + second) == [*first[:2], second[0]]
    assert standing_rows(first) == first


def test_series_leaves_out_what_is_no_number() -> None:
    rows = [row("training", s, loss=v) for s, v in ((1, 2.0), (2, float("nan")), (3, 1.0))]
    rows.append(row("training", 4, other=1.0))
    assert series(rows, "training", "loss") == ([1, 3], [2.0, 1.0])


def test_numbers_are_json_without_bookkeeping() -> None:
    mixed = Row(
        1.0, "training", 1, {"loss": float("inf"), "n": 3, "on": True, "s": "x", "epochs": 1.0}
    )
    assert numbers(mixed) == {"loss": None, "n": 3.0}


def test_final_metrics_are_those_of_the_last_rows() -> None:
    rows = [
        row("training", 1, loss=3.0, lr=0.1),
        row("validation", 1, eval_loss=4.0),
        row("training", 2, loss=2.0),
        row("validation", 2, eval_loss=5.0),
    ]
    assert final_metrics(rows) == {"loss": 2.0, "eval_loss": 5.0}
    assert final_metrics([]) == {}


def test_best_row_follows_the_direction_and_prefers_the_first() -> None:
    values = [(1, 0.5), (2, 0.2), (3, float("nan")), (4, 0.2), (5, 0.9), (6, 0.9)]
    rows = [row("validation", steps, score=value) for steps, value in values]
    smallest = best_row(rows, "score", smaller_is_better=True)
    largest = best_row(rows, "score", smaller_is_better=False)
    assert smallest is not None and smallest.steps == 2
    assert largest is not None and largest.steps == 5
    assert best_row(rows, "eval_loss", smaller_is_better=True) is None
    assert best_row([row("training", 1, score=1.0)], "score", True) is None
