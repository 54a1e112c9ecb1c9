"""Crashes, a master that goes away, and what is on the disk when they come."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.lives.conftest import TORCH, MakeExperiment, MakeLife, slow_to_evaluate
from cluster.standin.life import Life
from conftest import ROOT
from det_files.cluster.manifest import damage
from det_files.oom_backoff import Backoff, Batches


def kill_before_checkpoint(life: Life, steps: int, times: int) -> None:
    """Kills the trial when it has uploaded a checkpoint that the master has not heard of."""

    def is_it(body: Any) -> bool:
        return body["metadata"]["steps_completed"] == steps

    life.on(
        "POST",
        "/api/v1/checkpoints",
        when=is_it,
        before=lambda _: life.kill(),
        status=500,
        times=times,
    )


def test_a_crash_goes_on_from_the_last_whole_checkpoint(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """Killed as soon as the checkpoint of step 4 is the master's; metrics may still be queued."""
    life.on(
        "POST",
        "/api/v1/checkpoints",
        when=lambda body: body["metadata"]["steps_completed"] == 4,
        after=lambda _: life.kill(),
    )
    life.create(experiment(max_restarts=1))
    life.wait_for_end()
    assert life.trial.codes == [137, 0] and life.trial.restarts == 1
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.reports("validation") == [2, 4, 6]
    assert life.losses() == losses
    assert "ack" not in life.decisions()


def test_a_crash_in_an_upload_leaves_no_checkpoint(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """Killed when everything is uploaded and the master has not heard of it."""
    kill_before_checkpoint(life, 4, times=1)
    life.create(experiment(max_restarts=1))
    life.wait_for_end()
    assert life.trial.codes == [137, 0]
    # From step 2 again; a thread sends metrics, and how many of steps 3 and 4 were sent before the
    # kill is a matter of luck.
    sent, again = life.reports("training"), [3, 4, 5, 6]
    assert sent[-4:] == again and sent[:-4] in ([1, 2], [1, 2, 3], [1, 2, 3, 4])
    assert life.losses() == losses
    assert life.saved_steps() == [2, 4, 6]


def test_two_crashes_in_one_step(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """Twice killed while the checkpoint of step 4 is made, both times back to that of step 2."""
    kill_before_checkpoint(life, 4, times=2)
    life.create(experiment(max_restarts=2))
    life.wait_for_end()
    assert life.trial.codes == [137, 137, 0] and life.trial.restarts == 2
    assert life.losses() == losses


def test_a_crash_of_one_rank_in_two_containers(
    make_life: MakeLife, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """The other container is killed too, and both go on from the checkpoint they made together."""
    life = make_life(agents=[1, 1])
    life.on("POST", "/api/v1/checkpoints", after=lambda _: life.kill())
    life.create(
        experiment(
            entrypoint=TORCH,
            max_restarts=1,
            resources={"slots_per_trial": 2},
            training_arguments__per_device_train_batch_size=2,
        )
    )
    life.wait_for_end()
    assert life.trial.codes == [137, 0] and life.trial.restarts == 1
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.losses() == pytest.approx(losses, rel=1e-5)


def test_max_restarts_reached(life: Life, experiment: MakeExperiment) -> None:
    life.on("GET", ".*/rendezvous", after=lambda _: life.kill(), times=9)
    life.create(experiment(max_restarts=1))
    life.wait_for_end("ERROR")
    assert life.trial.codes == [137, 137] and life.trial.state == "ERROR"
    assert life.trial.checkpoints == []


def test_a_damaged_checkpoint_is_passed_over(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """The latest has lost its end on the disk, and the one before it its directory."""

    def spoil() -> None:
        weights = life.files(life.trial.checkpoints[-1]) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
        life.files(life.trial.checkpoints[-2]).rename(life.directory / "gone")
        life.kill()

    life.on_metrics("training", 6, spoil)
    life.create(experiment(max_restarts=1, training_arguments__save_steps=1))
    life.wait_for_end()
    # Saved at each step: 5 is damaged, 4 is gone, 3 is taken. (6 may have been saved, too.)
    log = "\n".join(life.trial.log)
    assert "bytes, the manifest says" in log and "taking the one before it" in log
    assert life.trial.codes == [137, 0]
    again = life.reports("training")
    assert again[: again.index(6) + 1] == [1, 2, 3, 4, 5, 6]
    assert again[again.index(6) + 1 :] in ([4, 5, 6], [5, 6])
    assert life.losses() == losses
    assert damage(life.files(life.trial.checkpoints[-1])) == []


def test_every_checkpoint_damaged_is_the_users_choice(
    life: Life, experiment: MakeExperiment
) -> None:
    def spoil() -> None:
        for checkpoint in life.trial.checkpoints:
            (life.files(checkpoint) / "trainer_state.json").unlink()
        life.kill()

    life.on_metrics("training", 3, spoil)
    life.create(experiment(max_restarts=2))
    life.wait_for_end("ERROR")
    assert life.trial.codes == [137, 2]  # and no third start
    log = "\n".join(life.trial.log)
    assert "ConfigError: every checkpoint of this trial is damaged" in log


def test_the_master_is_away_for_twenty_seconds(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """Training goes on or waits; nothing is lost, nothing is reported twice."""
    away: list[float] = []

    def go_away() -> None:
        def vanish() -> None:
            time.sleep(0.5)  # these metrics are still answered
            began = time.monotonic()
            life.master.go_away(20)
            away.append(time.monotonic() - began)

        threading.Thread(target=vanish, daemon=True).start()

    life.on_metrics("training", 2, go_away)
    life.create(slow_to_evaluate(life, experiment()))
    life.wait_for_end(timeout_s=400)
    assert away and away[0] >= 20
    assert life.trial.codes == [0] and life.trial.runs == 1
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.reports("validation") == [2, 4, 6]
    assert life.losses() == losses
    assert life.saved_steps() == [2, 4, 6]


def test_a_proxy_in_front_of_a_restarting_master(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """An ingress answers 502 and 503 while the master restarts; Determined's client would fail."""
    for status in (502, 503):
        life.on("POST", r"/api/v1/trials/\d+/metrics", times=2, status=status)
    life.create(experiment())
    life.wait_for_end()
    assert life.trial.codes == [0]
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.losses() == losses


def test_a_master_that_refuses_metrics_ends_in_a_restart_without_loss(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """A 500 is not tried again by the client: the run fails, and the next one reports it all."""
    life.on_metrics("training", 3, lambda: None, status=500)
    life.create(experiment(max_restarts=1))
    life.wait_for_end()
    assert life.trial.codes == [1, 0]
    assert life.losses() == losses
    assert list(life.trial.rows("validation", "eval_loss")) == [2, 4, 6]


def test_slow_answers_hold_nothing_up_for_good(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    life.on("POST", r"/api/v1/trials/\d+/(metrics|progress)", times=12, delay_s=0.5)
    life.create(experiment())
    life.wait_for_end()
    assert life.trial.codes == [0]
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.losses() == losses


def test_out_of_memory_on_one_rank_backs_off(
    make_life: MakeLife,
    experiment: MakeExperiment,
    losses: dict[int, float],
    bare_context: Path,
    tmp_path: Path,
) -> None:
    """Rank 1 of two tells the master; the next start has half of the micro-batch, and no policy
    has cancelled it."""
    context = shutil.copytree(bare_context, tmp_path / "context")
    shutil.copy(ROOT / "tests" / "running_out_of_memory.py", context)
    life = make_life(agents=[2])
    config = experiment(
        entrypoint=TORCH.replace("det_files.run_clm", "running_out_of_memory"),
        max_restarts=1,
        resources={"slots_per_trial": 2},
        environment={"environment_variables": ["OOM_ROWS=1", "OOM_RANK=1", "OOM_STEP=4"]},
        training_arguments__per_device_train_batch_size=2,
        training_arguments__oom_backoff=True,
    )
    never = {"pattern": r"torch\.(cuda\.)?OutOfMemoryError: ", "action": {"type": "cancel_retries"}}
    config["log_policies"].append(never)
    life.create(config, context=context)
    life.wait_for_end()
    assert life.trial.codes == [1, 0] and life.trial.restarts == 1
    assert Backoff.read(life.trial.metadata) == Backoff(Batches(2, 1, 2), Batches(1, 2, 2), 1)
    assert life.trial.rows("training", "micro_batch_size") == {1: 2, 2: 2, 3: 1, 4: 1, 5: 1, 6: 1}
    assert life.losses() == pytest.approx(losses, rel=1e-5)
