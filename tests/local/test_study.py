"""A search's trials in a study: their order, their decisions, and what a kill leaves."""

import datetime
import math
from pathlib import Path
from typing import Any

import optuna
import pytest

from det_files.local.halving_pruner import HalvingPruner
from det_files.local.search_space import SearchSpace
from det_files.local.study import SearchStudy
from det_files.local.study_file import open_study

SPACE = SearchSpace({"rate": {"type": "double", "minval": 0, "maxval": 1, "count": 3}})
ASHA = {
    "name": "adaptive_asha",
    "metric": "eval_loss",
    "max_trials": 16,
    "max_time": 100,
    "time_metric": "batches",
}
HALVING = ASHA | {"name": "async_halving", "num_rungs": 2, "divisor": 2, "max_trials": 8}


def study(path: Path | None, searcher: dict[str, Any], seed: int | None = 1) -> SearchStudy:
    return SearchStudy(path, "s", searcher, SPACE, seed)


def report(search: SearchStudy, number: int, step: int, value: float | None) -> bool:
    return search.validated(number, step, step, value)


def test_trials_of_brackets_begin_and_follow_as_on_determined() -> None:
    search = study(None, ASHA | {"max_concurrent_trials": 6})
    # Three of each bracket at once; the second has four trials in all.
    assert [search.next_trial() for _ in range(7)] == [0, 1, 2, 3, 4, 5, None]
    brackets = [search.describe_trial(n)["bracket"] for n in range(6)]
    assert brackets == [0, 0, 0, 1, 1, 1]
    for number in (4, 3, 5):  # each that ends makes room in its own bracket
        report(search, number, 100, 1.0)
        search.ended(number, failed=False)
    assert search.next_trial() == 6
    assert search.describe_trial(6)["bracket"] == 1
    assert search.next_trial() is None  # the second bracket has had its four


def test_a_trial_stops_where_it_is_not_among_the_best() -> None:
    search = study(None, HALVING)
    for _ in range(8):
        search.next_trial()
    stops = [report(search, number, 50, value) for number, value in enumerate([3, 2, 4, 1, 2, 1.5])]
    # Places of a newcomer among n with the best half going on: 0/1, 0/2, 2/3, 0/4, 1/5, 1/6.
    assert stops == [False, False, True, False, False, False]
    assert report(search, 0, 100, 0.1)  # the last rung ends everyone
    assert search.describe_trial(0)["rungs"] == [
        {"units": 50, "value": 3.0, "continues": True},
        {"units": 100, "value": 0.1, "continues": False},
    ]
    assert search.describe_trial(0)["stopped_at"] is None
    assert search.describe_trial(2)["stopped_at"] == 50


def test_a_validation_beyond_several_rungs_enters_them_all_and_between_them_none() -> None:
    search = study(None, ASHA)
    search.next_trial()
    search.next_trial()
    assert not report(search, 0, 5, 9.0)
    assert search.describe_trial(0)["rungs"] == []
    assert not report(search, 0, 30, 2.0)
    assert [visit["units"] for visit in search.describe_trial(0)["rungs"]] == [6, 25]
    assert report(search, 1, 30, 3.0)
    assert [visit["units"] for visit in search.describe_trial(1)["rungs"]] == [6]


def test_larger_can_be_better() -> None:
    search = study(None, HALVING | {"smaller_is_better": False, "metric": "eval_token_accuracy"})
    for _ in range(3):
        search.next_trial()
    assert not report(search, 0, 50, 0.5)
    assert report(search, 1, 50, 0.4) is True
    assert report(search, 2, 50, 0.6) is False


@pytest.mark.parametrize("value", [None, math.nan, 3.0e38])
def test_no_number_is_the_worst_and_never_goes_on(value: float | None) -> None:
    search = study(None, HALVING)
    for _ in range(3):
        search.next_trial()
    given = None if value is None or math.isnan(value) else value
    assert report(search, 0, 50, given)  # though it is the first
    assert search.describe_trial(0)["rungs"][0]["value"] is None
    assert not report(search, 1, 50, 7.0)


def test_a_trial_that_fails_is_the_worst_at_its_next_rung() -> None:
    search = study(None, HALVING)
    for _ in range(4):
        search.next_trial()
    search.ended(0, failed=True)
    assert search.describe_trial(0)["rungs"] == [{"units": 50, "value": None, "continues": False}]
    assert not report(search, 1, 50, 5.0)
    assert not report(search, 2, 50, 4.0)
    search.ended(2, failed=True)  # after its rung: what it met there stays
    assert [visit["value"] for visit in search.describe_trial(2)["rungs"]] == [4.0, None]
    assert search.has_failed(0) and search.has_failed(2) and not search.has_failed(1)


def test_a_killed_search_draws_and_decides_as_if_it_had_gone_on(tmp_path: Path) -> None:
    def run(search: SearchStudy, kill_after: int) -> list[dict[str, Any]]:
        pending, told = search.unfinished(), 0
        while pending or (number := search.next_trial()) is not None:
            number = pending.pop(0) if pending else number
            rate = search.hyperparameters(number)["rate"]
            for step in (6, 25, 100):
                stop = report(search, number, step, rate + 1 / step)
                told += 1
                if told == kill_after:
                    raise TimeoutError  # before anything follows from the decision
                if stop:
                    break
            search.ended(number, failed=False)
        return [search.describe_trial(n) for n in range(search.drawn)]

    path = tmp_path / "study.db"
    with pytest.raises(TimeoutError):
        run(study(path, ASHA), kill_after=5)
    assert run(study(path, ASHA, seed=None), kill_after=-1) == run(study(None, ASHA), kill_after=-1)
    states = [trial.state.name for trial in open_study(path).trials]
    assert len(states) == 16 and set(states) == {"COMPLETE", "PRUNED"}


def test_a_study_lies_where_it_is_told_whatever_the_path(tmp_path: Path) -> None:
    """In SQLAlchemy's URLs, "?" begins the options and %41 is a letter."""
    directory = tmp_path / "what? #1 %41"
    directory.mkdir()
    study(directory / "study.db", ASHA).next_trial()
    assert [file.name for file in directory.iterdir()] == ["study.db"]
    assert [trial.number for trial in open_study(directory / "study.db").trials] == [0]
    assert study(directory / "study.db", ASHA).unfinished() == [0]


def test_a_validation_told_again_has_its_own_answer() -> None:
    """As a resumed trial's are, from the first on."""
    search = study(None, HALVING)
    for _ in range(2):
        search.next_trial()
    report(search, 1, 50, 3.0)
    assert [report(search, 0, step, 2.0) for step in (20, 40, 50)] == [False, False, False]
    assert report(search, 0, 60, 9.0) is False
    assert report(search, 0, 100, 0.5) is True
    assert [report(search, 0, step, 2.0) for step in (20, 50, 100)] == [False, False, True]
    search.ended(0, failed=False)
    assert [report(search, 0, step, 2.0) for step in (20, 50, 100)] == [False, False, True]


def test_a_kill_between_any_two_writes_of_a_validation_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values at the rungs are those of the validations there."""

    def told(path: Path, kill_after: int) -> list[dict[str, Any]]:
        search, writes = study(path, ASHA), 0
        for name in ("set_trial_user_attr", "set_trial_system_attr", "set_trial_intermediate_value",
                     "set_trial_state_values"):  # fmt: skip
            real = getattr(search._study._storage, name)

            def counted(*args: Any, real: Any = real, **kwargs: Any) -> Any:
                nonlocal writes
                if writes == kill_after:
                    raise TimeoutError
                writes += 1
                return real(*args, **kwargs)

            monkeypatch.setattr(search._study._storage, name, counted)
        search.unfinished() or search.next_trial()
        for step, value in ((3, 9.0), (6, 5.0), (25, 1.0), (100, 0.5)):
            report(search, 0, step, value)
        search.ended(0, failed=False)
        return search.describe_trial(0)["rungs"]

    whole = told(tmp_path / "whole.db", -1)
    assert [visit["value"] for visit in whole] == [5.0, 1.0, 0.5]
    for kill_after in range(16):
        path = tmp_path / f"{kill_after}.db"
        with pytest.raises(TimeoutError):
            told(path, kill_after)
        assert told(path, -1) == whole, kill_after


def test_a_kill_while_a_failure_is_noted_leaves_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "study.db"
    search = study(path, HALVING)
    search.next_trial()
    report(search, 0, 50, 1.0)
    monkeypatch.setattr(search._study, "tell", lambda *_, **__: exec("raise TimeoutError"))
    with pytest.raises(TimeoutError):
        search.ended(0, failed=True)
    again = study(path, HALVING)
    assert again.has_failed(0) and again.unfinished() == []


def test_the_order_of_ends_is_not_the_clocks() -> None:
    search = study(None, ASHA | {"max_concurrent_trials": 4})
    numbers = [search.next_trial() for _ in range(4)]
    drawn: list[int] = []
    for number in (3, 2, 1, 0):
        report(search, number, 100, 1.0)
        search.ended(number, failed=False)
        frozen = (
            search._study._storage._trials if hasattr(search._study._storage, "_trials") else {}
        )
        for trial in dict(frozen).values():  # as if the clock had been put back an hour
            if trial.datetime_complete:
                trial.datetime_complete -= datetime.timedelta(hours=1)
        drawn.append(search.describe_trial(search.next_trial())["bracket"])  # type: ignore[arg-type]
    assert numbers == [0, 1, 2, 3] and drawn == [1, 1, 0, 0]


def test_a_grids_last_point_may_be_rounded(recwarn: pytest.WarningsRecorder) -> None:
    space = SearchSpace({"rate": {"type": "double", "minval": 0.1, "maxval": 0.9, "count": 4}})
    search = SearchStudy(None, "s", {"name": "grid", "metric": "eval_loss"}, space)
    for number in range(4):
        assert search.next_trial() == number
    assert search.hyperparameters(3)["rate"] == pytest.approx(0.9)
    assert not [w for w in recwarn if "out of range" in str(w.message)]


def test_a_trial_without_a_metric_has_failed() -> None:
    search = study(None, {"name": "random", "metric": "eval_loss", "max_trials": 2})
    search.next_trial()
    assert search.ended(0, failed=False) is True
    assert search.has_failed(0)


def test_one_seed_tries_the_same_whatever_the_searcher() -> None:
    random = study(None, {"name": "random", "metric": "eval_loss", "max_trials": 5})
    asha = study(None, ASHA)
    for search in (random, asha):
        for _ in range(5):
            search.next_trial()
    rates = [[search.hyperparameters(n)["rate"] for n in range(5)] for search in (random, asha)]
    assert rates[0] == rates[1] and len(set(rates[0])) == 5
    other = study(None, ASHA, seed=2)
    other.next_trial()
    assert other.hyperparameters(0)["rate"] != rates[0][0]


def test_the_pruner_works_in_a_study_of_anyones_own() -> None:
    """By Optuna's own loop, with its own names."""
    from det_files.rungs import Bracket

    search = optuna.create_study(pruner=HalvingPruner([Bracket((2, 4), 4, 4)], divisor=2))

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("bracket", 0)
        trial.set_user_attr("positions", {str(step): step for step in range(1, 5)})
        for step in range(1, 5):
            trial.report(trial.number, step)
            if trial.should_prune():
                break
        return trial.number

    search.optimize(objective, n_trials=3)
    assert [trial.last_step for trial in search.trials] == [4, 2, 2]
