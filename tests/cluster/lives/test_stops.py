"""Preemption: at any moment, the checkpoint before the acknowledgement, and the same losses."""

from __future__ import annotations

import pytest

from cluster.lives.conftest import DEEPSPEED, TORCH, MakeExperiment, MakeLife, slow_to_evaluate
from cluster.standin.life import Life
from det_files.cluster.manifest import damage


def stopped_at(life: Life) -> int:
    """The step of the checkpoint that came last before the first acknowledgement."""
    decisions = life.decisions()
    before = decisions[: decisions.index("ack")]
    return int(before[-1].removeprefix("checkpoint "))


def check_whole(life: Life, losses: dict[int, float]) -> None:
    """Two runs make the curve of one: each step once, the same losses, whole checkpoints."""
    assert life.trial.codes == [0, 0] and life.trial.restarts == 0
    assert life.trial.state == "COMPLETED"
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.reports("validation") == [2, 4, 6]
    assert life.losses() == losses
    assert life.decisions().count("ack") == 1
    assert all(damage(life.files(checkpoint)) == [] for checkpoint in life.trial.checkpoints)


def test_pausing_and_activating_in_the_middle_of_an_epoch(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    # The master answers once `det` has come back, so that the six steps are not over before.
    life.on("POST", "/api/v1/checkpoints", before=lambda _: life.det("experiment", "pause", "1"))
    life.create(experiment())
    life.wait(lambda: life.trial.codes == [0])
    assert life.trial.state == "PAUSED" and life.experiment.state == "PAUSED"
    assert life.decisions() == ["start", "checkpoint 2", "checkpoint 3", "ack"]
    done = life.det("experiment", "activate", "1")
    assert done.returncode == 0, done.stderr
    life.wait_for_end()
    check_whole(life, losses)
    assert "resuming from checkpoint" in "\n".join(life.trial.log)


def test_preempted_while_evaluating(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """The signal comes with the training metrics before an evaluation that takes a second or two.

    It is finished, and training leaves after the next step.
    """
    life.on_metrics("training", 2, life.preempt)
    life.create(slow_to_evaluate(life, experiment()))
    life.wait_for_end()
    check_whole(life, losses)
    assert stopped_at(life) == 3


def test_preempted_while_saving(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """The signal comes while the upload waits for the master's answer."""
    life.preempt_at_checkpoint(2)
    life.create(experiment())
    life.wait_for_end()
    check_whole(life, losses)
    assert life.decisions()[:4] == ["start", "checkpoint 2", "checkpoint 3", "ack"]


def test_preempted_with_logging_steps_larger_than_the_run(
    life: Life, experiment: MakeExperiment
) -> None:
    """Nothing is logged before the end: the signal must be looked for at every step."""
    life.preempt_at_checkpoint(2)
    life.create(experiment(training_arguments__logging_steps=1000))
    life.wait_for_end()
    assert life.trial.codes == [0, 0]
    assert stopped_at(life) == 3
    assert life.reports("validation") == [2, 4, 6]


def test_preempted_on_the_last_step_is_completed(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """The trial has heard of it before the last step: what is finished is not to be continued."""
    life.preempt_at_checkpoint(5)
    life.create(experiment(training_arguments__save_steps=5))
    life.wait_for_end()
    assert life.trial.codes == [0] and life.trial.state == "COMPLETED"
    assert "ack" not in life.decisions()
    assert life.losses() == losses
    assert life.saved_steps() == [5, 6]


def test_preempted_where_only_the_best_is_saved(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """A strategy that would not save now is overruled: the trial must be able to go on."""
    life.preempt_at_checkpoint(2)
    config = experiment(
        training_arguments__save_strategy="best",
        training_arguments__metric_for_best_model="eval_loss",
    )
    del config["hyperparameters"]["training_arguments"]["save_steps"]
    life.create(config)
    life.wait_for_end()
    assert life.trial.codes == [0, 0]
    assert stopped_at(life) == 3
    assert life.losses() == losses


def test_paused_before_the_rendezvous_is_killed_and_starts_anew(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    life.on("GET", ".*/context_directory", before=lambda _: life.det("experiment", "pause", "1"))
    life.create(experiment())
    life.wait(lambda: life.trial.codes != [])
    assert life.trial.state == "PAUSED" and life.decisions() == []
    life.det("experiment", "activate", "1")
    life.wait_for_end()
    assert len(life.trial.codes) == 2 and life.trial.restarts == 0
    assert life.losses() == losses


def test_pausing_two_ranks_of_deepspeed(
    make_life: MakeLife, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    life = make_life(agents=[2])
    life.preempt_at_checkpoint(2)
    config = experiment(
        entrypoint=DEEPSPEED,
        resources={"slots_per_trial": 2},
        deepspeed_config="ds_configs/ds_config_stage_2.json",
        training_arguments__per_device_train_batch_size=2,
        environment={"environment_variables": {"cpu": ["LOCAL_SIZE=2"]}},
    )
    life.create(config)
    life.wait_for_end()
    assert life.trial.codes == [0, 0]
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.losses() == pytest.approx(losses, rel=1e-5)


def test_two_containers_of_one_slot(
    make_life: MakeLife, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """Two nodes: ranks that share no directory, so each uploads what it alone sees."""
    life = make_life(agents=[1, 1])
    life.preempt_at_checkpoint(2)
    life.create(
        experiment(
            entrypoint=TORCH,
            resources={"slots_per_trial": 2},
            training_arguments__per_device_train_batch_size=2,
        )
    )
    life.wait_for_end()
    assert life.trial.codes == [0, 0]
    assert life.decisions().count("start") == 4  # two ranks, two runs
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.losses() == pytest.approx(losses, rel=1e-5)
    for checkpoint in life.trial.checkpoints:
        assert damage(life.files(checkpoint)) == []
        assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(checkpoint["resources"])
