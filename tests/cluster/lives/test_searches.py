"""Searches: trials that end when the searcher has decided, on every rank."""

from __future__ import annotations

import pytest

from cluster.lives.conftest import TORCH, MakeExperiment, MakeLife
from cluster.standin.life import Life
from cluster.standin.master import OPERATIONS

RATES = {"type": "categorical", "vals": [1e-2, 1e-5]}


def test_adaptive_asha_stops_trials(make_life: MakeLife, experiment: MakeExperiment) -> None:
    """Two ranks a trial: the chief learns of the stop after a validation, and all of them leave."""
    life = make_life(agents=[2])
    length = {"max_length": {"batches": 6}} if OPERATIONS else {}
    time = {} if OPERATIONS else {"max_time": 6, "time_metric": "batches"}
    searcher = {
        "name": "adaptive_asha", "metric": "eval_loss", "max_trials": 3, "divisor": 3,
        "max_rungs": 2, "mode": "aggressive", "max_concurrent_trials": 1,
    }  # fmt: skip
    config = experiment(
        entrypoint=TORCH,
        searcher=searcher | length | time,
        resources={"slots_per_trial": 2},
        training_arguments__per_device_train_batch_size=2,
        training_arguments__eval_steps=6,  # the rung at 2 is validated all the same
        training_arguments__learning_rate={
            "type": "categorical",
            "vals": [1e-3, 1e-4, 1e-5, 1e-2],  # drawn: the last, then the third twice
        },
    )
    life.create(config)
    life.wait_for_end(timeout_s=500)
    trials = life.experiment.trials
    assert len(trials) == 3
    assert all(set(trial.codes) == {0} and trial.state == "COMPLETED" for trial in trials)
    ended = [max(step for group, step in t.metrics if group == "validation") for t in trials]
    if OPERATIONS:
        # Rungs at 2 and 8 batches; the best of three goes on, in a second run, to its end.
        assert sorted(ended) == [2, 2, 6]
        best = min(trials, key=lambda trial: trial.rows("validation", "eval_loss")[2])
        assert ended[trials.index(best)] == 6 and best.runs == 2
        return
    # Rungs at 2 and 6 batches. The first trial is alone at the first rung, so it goes on; a later
    # one stays only while it is among the best third of those that came so far.
    seen: list[float] = []
    for trial, end in zip(trials, ended, strict=True):
        loss = trial.rows("validation", "eval_loss")[2]
        place = sum(other < loss for other in seen)
        seen.append(loss)
        goes_on = place < max(len(seen) // 3, 1)
        assert end == (6 if goes_on else 2), (seen, ended)
    assert 2 in ended
    stopped = trials[ended.index(2)]
    # It left at that validation: no step was trained after it, and its checkpoint is there.
    assert max(step for _, step in stopped.metrics) == 2
    assert [c["metadata"]["steps_completed"] for c in stopped.checkpoints] == [2]
    assert "ack" not in life.decisions()


@pytest.mark.parametrize("name", ["grid", "random"])
def test_every_trial_of_a_search_runs_to_its_end(
    make_life: MakeLife, experiment: MakeExperiment, name: str
) -> None:
    life = make_life(agents=[1, 1])
    searcher = {"name": name, "metric": "eval_loss"} | (
        {"max_trials": 2} if name == "random" else {}
    )
    life.create(
        experiment(
            searcher=searcher,
            training_arguments__learning_rate=RATES,
            training_arguments__max_steps=2,
        )
    )
    life.wait_for_end()
    trials = life.experiment.trials
    assert [trial.codes for trial in trials] == [[0], [0]]
    if name == "grid":
        rates = [trial.hparams["training_arguments"]["learning_rate"] for trial in trials]
        assert sorted(rates) == [1e-5, 1e-2]
        last = [trial.rows("validation", "eval_loss")[2] for trial in trials]
        assert last[rates.index(1e-2)] < last[rates.index(1e-5)]


def test_a_diverged_trial_is_the_worst_and_the_search_goes_on(
    make_life: MakeLife, experiment: MakeExperiment
) -> None:
    """NaN would send the whole experiment to error."""
    life: Life = make_life(agents=[1])
    length = {"max_length": {"batches": 4}} if OPERATIONS else {}
    time = {} if OPERATIONS else {"max_time": 4, "time_metric": "batches"}
    searcher = {
        "name": "async_halving", "metric": "eval_loss", "max_trials": 2, "num_rungs": 2,
        "divisor": 2, "max_concurrent_trials": 1,
    }  # fmt: skip
    config = experiment(
        searcher=searcher | length | time,
        training_arguments__max_steps=4,
        training_arguments__max_grad_norm=0.0,
        training_arguments__learning_rate=1e30,
    )
    life.create(config)
    life.wait_for_end()
    assert all(trial.state == "COMPLETED" for trial in life.experiment.trials)
    worst = [trial.rows("validation", "eval_loss") for trial in life.experiment.trials]
    assert all(value == 3.0e38 for rows in worst for value in rows.values())


def test_deepspeeds_autotuning_reports_what_it_measured(
    life: Life, experiment: MakeExperiment
) -> None:
    """DeepSpeed ends the run by itself; on 0.37 that completes the searcher's operation."""
    section = {"enabled": True, "start_profile_step": 2, "end_profile_step": 3}
    config = experiment(
        deepspeed_config="ds_configs/ds_config_stage_1.json",
        training_arguments__eval_strategy="no",
        training_arguments__save_strategy="no",
    )
    config["hyperparameters"]["overwrite_deepspeed_args"] = {"autotuning": section}
    for name in ("eval_steps", "save_steps"):
        del config["hyperparameters"]["training_arguments"][name]
    life.create(config)
    life.wait_for_end()
    assert life.trial.codes == [0]
    throughput = life.trial.rows("validation", "throughput")
    assert list(throughput) == [3]
    assert all(value > 0 for value in throughput.values())
    done = ["operation completed", "ack"] if OPERATIONS else []
    assert life.decisions() == ["start", *done]
