"""The table of trials: what it shows in what order, that it fits, and the lines about events."""

from dataclasses import replace

import pytest

from det_files.local.search_rows import TrialRow
from det_files.local.search_table import best_line, event_line, final_lines, table_lines

SEARCHER = {"name": "random", "metric": "eval_loss", "smaller_is_better": True}
PARAMS = {
    "training_arguments.learning_rate": 3.2e-4,
    "tuning_arguments.r": 16,
    "training_arguments.per_device_train_batch_size": 8,
    "tuning_arguments.method": "lora",
}


def trial(number: int, state: str = "COMPLETED", best: float | None = None, **fields) -> TrialRow:
    params = PARAMS | {"training_arguments.learning_rate": number * 1e-4}
    given = {"params": params, "steps": 10, "max_steps": 100, "metric": best, "wall_s": 65.0}
    return TrialRow(number, state, best=best, **(given | fields))


ROWS = [
    trial(1, best=1.5),
    trial(2, "ERROR"),
    trial(3, best=2.5, stopped_at=10),
    trial(4, "RUNNING", best=2.0, tokens_per_second=1234.5, eta_s=187.0),
    trial(5, best=1.25),
    trial(6, "RUNNING"),
    trial(7, "QUEUED"),
]


def numbers(lines: list[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines if line.split()[0].isdigit()]


def test_running_trials_come_first_then_the_best() -> None:
    head, titles, *body = table_lines(ROWS, SEARCHER, 200, 50)
    assert head == (
        "7 trials  best eval_loss 1.2500 (trial 5)  "
        "2 running, 2 completed, 1 stopped early, 1 failed, 1 queued"
    )
    assert (
        titles.split()
        == ("trial state learning_rate r p_d_t_b_s method step eval_loss best tokens/s ETA")
        .replace("p_d_t_b_s", "pe_de_tr_ba_si")
        .split()
    )
    assert numbers(body) == [4, 6, 5, 1, 3, 2]
    running = "4 running 4e-4 16 8 lora 10/100 2.0000 2.0000 1,234 3m07s"
    assert body[0].split() == running.split()
    assert "stopped at 10" in body[4] and "failed" in body[5]
    assert body[-1] == "  and 1 queued"


def test_the_direction_turns_the_order() -> None:
    lines = table_lines(ROWS, SEARCHER | {"smaller_is_better": False}, 200, 50)
    assert "best eval_loss 2.5000 (trial 3)" in lines[0]
    assert numbers(lines[2:]) == [4, 6, 3, 1, 5, 2]


@pytest.mark.parametrize("width", [20, 40, 60, 79, 100, 150])
@pytest.mark.parametrize("height", [1, 2, 3, 6, 10, 40])
def test_it_fits_any_window(width: int, height: int) -> None:
    rows = [trial(n, best=1.0 + n, bracket=n % 2, restarts=n % 3) for n in range(1, 65)]
    lines = table_lines([*ROWS[3:4], *rows], SEARCHER, width, height)
    assert 1 <= len(lines) <= height
    assert max(map(len, lines)) <= width


def test_what_has_no_room_is_counted() -> None:
    lines = table_lines(ROWS, SEARCHER, 100, 6)
    assert numbers(lines[2:]) == [4, 6, 5]
    assert lines[-1] == "  and 1 completed, 1 stopped early, 1 failed, 1 queued"
    exact = table_lines(ROWS[:6], SEARCHER, 100, 8)
    assert numbers(exact[2:]) == [4, 6, 5, 1, 3, 2]  # the last line is a trial: none is left


def test_in_a_narrow_window_names_are_cut_then_columns_left_out() -> None:
    wide, middle, narrow = (table_lines(ROWS, SEARCHER, w, 50)[1].split() for w in (120, 80, 55))
    assert "learning_rate" in wide and "tokens/s" in wide
    assert "le_ra" in middle  # the letters of each word that there is room for
    assert "tokens/s" not in narrow
    assert narrow[-1] == "+3"  # r, method and batch size: equal in all trials, they tell least
    assert "le_ra" in narrow
    assert {"trial", "state", "step", "best"} <= set(narrow)


def test_brackets_and_restarts_are_shown_where_there_are_some() -> None:
    assert "bracket" not in table_lines([trial(1, bracket=0)], SEARCHER, 200, 9)[1]
    rows = [trial(1, bracket=0, restarts=2), trial(2, bracket=1)]
    titles, first, second = table_lines(rows, SEARCHER, 200, 9)[1:]
    assert titles.split()[2:4] == ["bracket", "restarts"]
    assert first.split()[2:4] == ["0", "2"]
    assert second.split()[2] == "1"


def test_a_hyperparameter_that_a_trial_lacks_and_values_of_every_kind() -> None:
    rows = [
        trial(1, params={"a": True, "b": None, "c": "x" * 50}),
        trial(2, params={"a": 1.5}),
    ]
    lines = table_lines(rows, SEARCHER, 200, 9)
    assert lines[2].split()[2:5] == ["true", "null", "x" * 19 + "…"]
    assert lines[3].split()[2:5] == ["1.5", "-", "-"]


def test_no_trial_yet_and_none_that_was_measured() -> None:
    assert table_lines([], SEARCHER, 80, 20)[0].startswith("0 trials")
    lines = table_lines([trial(1, "ERROR")], SEARCHER, 80, 20)
    assert lines[0] == "1 trial  1 failed"
    assert final_lines([], SEARCHER) == []


def test_the_final_table_is_whole_and_the_best_comes_first() -> None:
    titles, *body = final_lines(ROWS, SEARCHER)
    assert "per_device_train_batch_size" in titles and "best eval_loss" in titles
    assert numbers(body) == [5, 1, 4, 3, 2, 6, 7]
    assert body[0].split() == "5 completed 5e-4 16 8 lora 1.2500 10 1m05s".split()
    assert all(line.isascii() for line in [titles, *body])
    assert max(map(len, final_lines(ROWS, SEARCHER, 70))) <= 70


def test_the_best_trial_is_named() -> None:
    row = TrialRow(7, "COMPLETED", {"a.learning_rate": 3.2e-4, "b.r": 16}, best=1.2345)
    assert best_line(row, "eval_loss") == (
        "best hyperparameters: trial 7, eval_loss 1.2345: learning_rate 3.2e-4, r 16"
    )


def test_events() -> None:
    row = TrialRow(7, "RUNNING", {"a.learning_rate": 3.2e-4, "b.r": 16})
    assert event_line(row, "m") == "trial 7 started: learning_rate 3.2e-4, r 16"
    again = replace(row, steps=6, bracket=1)
    assert event_line(again, "m").startswith("trial 7 continues from step 6 (bracket 1): ")
    assert event_line(again, "throughput").startswith("trial 7 starts anew (bracket 1): ")
    ended = replace(again, state="COMPLETED", steps=25, wall_s=65.0, metric=1.5, best=1.25)
    assert event_line(ended, "m") == "trial 7 completed: 25 steps in 1m05s, m 1.5000 (best 1.2500)"
    stopped = replace(ended, stopped_at=25, best=1.5)
    assert event_line(stopped, "m", "batches") == (
        "trial 7 stopped by the searcher at 25 batches: 25 steps in 1m05s, m 1.5000"
    )
    failed = replace(again, state="ERROR", wall_s=3.0)
    assert event_line(failed, "m") == "trial 7 failed: 6 steps in 3s"
