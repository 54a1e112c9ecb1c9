"""Determined's own DeepSpeed Autotune, up to 0.37: its command line, its search runner, our trials.

The runner hears memory figures of a GPU into which a few rows fit, in place of this machine's: on a
CPU DeepSpeed takes the growth of the resident set for the memory of activations.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.lives.conftest import TORCH, MakeExperiment, MakeLife
from cluster.standin.cluster import Experiment
from cluster.standin.life import Life
from cluster.standin.master import OPERATIONS
from cluster.standin.trials import Trial

pytestmark = pytest.mark.skipif(
    not OPERATIONS,
    reason="Determined 0.38 has neither determined.pytorch.dsat nor custom searchers",
)
ROW_BYTES = 10**9
PROFILE = {"num_params", "trainable_num_params", "activation_mem_per_gpu", "gpu_mem"}
# Steps 2 to 3 are profiled, and the fourth ends the trial.
ARGUMENTS = (
    "--max-concurrent-trials", "1", "--zero-stages", "1", "2",
    "--start-profile-step", "2", "--end-profile-step", "3",
)  # fmt: skip


def config_of(experiment: MakeExperiment, **changes: Any) -> dict[str, Any]:
    config = experiment(
        **changes,
        deepspeed_config="ds_configs/ds_config_stage_1.json",
        training_arguments__eval_strategy="no",
        training_arguments__save_strategy="no",
    )
    for name in ("eval_steps", "save_steps"):
        del config["hyperparameters"]["training_arguments"][name]
    return config


def pretend_gpu(life: Life, rows: int) -> None:
    """The first result, that of the model's profile, says that so many rows fit at once."""

    def change(body: Any) -> None:
        told = body["searcherMetric"]
        assert all(isinstance(told[key], int) and told[key] > 0 for key in PROFILE), told
        told["activation_mem_per_gpu"] = ROW_BYTES
        told["gpu_mem"] = (rows + 1) * ROW_BYTES + ROW_BYTES // 2  # the model takes its share

    life.on("POST", ".*/completed_operation", before=change)


def overwrites(trial: Trial) -> dict[str, Any]:
    return trial.hparams["overwrite_deepspeed_args"]


def metrics_of(trial: Trial) -> dict[str, float]:
    ((_, row),) = [item for item in trial.metrics.items() if item[0][0] == "validation"]
    return row


def finished_search(life: Life) -> Experiment:
    """The experiment that the runner has made, both of them ended."""
    life.wait_for_end(timeout_s=500)
    search = life.master.cluster.experiments[2]
    assert search.state == "COMPLETED" and search.config["searcher"]["name"] == "custom"
    assert "Shutting down: all Trials completed." in "\n".join(life.trial.log)
    return search


def best_of(life: Life, what: str) -> dict[str, Any]:
    """DSAT's best "config" or "metrics", out of the runner's last checkpoint."""
    file = life.files(life.trial.checkpoints[-1]) / f"best_ds_{what}.json"
    return json.loads(file.read_text())


def check_profile(trial: Trial) -> None:
    assert (trial.state, trial.codes) == ("COMPLETED", [0])
    assert metrics_of(trial).keys() >= PROFILE and trial.operation == 1
    assert not trial.rows("training", "loss")  # DeepSpeed ended it in its first forward pass


def check_measured(trial: Trial, slots: int = 1) -> None:
    """It trained as the search said, and reported under DSAT's names and DeepSpeed's."""
    assert (trial.state, trial.codes, trial.operation) == ("COMPLETED", [0], 4)
    assert list(trial.rows("training", "loss")) == [1, 2, 3]
    row, sizes = metrics_of(trial), overwrites(trial)
    assert (row["forward"], row["backward"]) == (row["fwd"], row["bwd"])
    assert row["FLOPS_per_gpu"] > 0
    # DeepSpeed's own count of rows in a step; latency in microseconds.
    rows = row["throughput"] * row["latency"] / 1e6
    assert rows == pytest.approx(sizes["train_batch_size"])
    micro = sizes["train_micro_batch_size_per_gpu"]
    assert sizes["train_batch_size"] == micro * slots
    # The file says 4, and a trial of another size has warned of it.
    warned = any(f"{micro} of overwrite_deepspeed_args holds, not 4" in x for x in trial.log)
    assert warned == (micro != 4)


def test_random(life: Life, experiment: MakeExperiment) -> None:
    """A profile of the model and three trials, of which one dies as for want of memory."""
    pretend_gpu(life, rows=6)

    def die(body: Any) -> None:
        life.master.cluster.experiments[2].trials[2].allocation.containers[0].kill()

    def is_of_third(body: Any) -> bool:
        return len(life.master.cluster.experiments[2].trials) == 3 and body["group"] == "training"

    life.on("POST", ".*/metrics", when=is_of_third, before=die)
    life.autotune("random", config_of(experiment), "--max-trials", "4", *ARGUMENTS)
    search = finished_search(life)
    profile, first, dead, last = search.trials
    check_profile(profile)
    check_measured(first)
    check_measured(last)
    assert (dead.state, dead.codes) == ("ERROR", [137])
    assert all(trial.hparams["_use_dsat_mode"] for trial in search.trials)
    assert all(overwrites(trial)["zero_optimization"]["stage"] in (1, 2) for trial in (first, last))
    best = max((first, last), key=lambda trial: metrics_of(trial)["FLOPS_per_gpu"])
    assert best_of(life, "metrics") == pytest.approx(metrics_of(best))
    chosen = best_of(life, "config")
    assert chosen["zero_optimization"] == overwrites(best)["zero_optimization"]
    assert chosen["train_batch_size"] == overwrites(best)["train_batch_size"]


def test_binary_and_the_full_experiment(make_life: MakeLife, experiment: MakeExperiment) -> None:
    """Two ranks, by a metric whose name DeepSpeed has changed; then training with what was best."""
    life = make_life(agents=[2])
    pretend_gpu(life, rows=3)
    config = config_of(experiment, entrypoint=TORCH, resources={"slots_per_trial": 2})
    life.autotune(
        "binary", config, "--max-trials", "3", *ARGUMENTS, "--metric", "forward",
        "--run-full-experiment",
    )  # fmt: skip
    profile, first, second = finished_search(life).trials
    check_profile(profile)
    check_measured(first, slots=2)
    check_measured(second, slots=2)
    # The middle of 1 to 3, then of what is left above it; on each of two ranks.
    assert [overwrites(trial)["train_batch_size"] for trial in (first, second)] == [4, 6]
    best = min((first, second), key=lambda trial: metrics_of(trial)["forward"])
    assert best_of(life, "metrics")["forward"] == metrics_of(best)["forward"]
    full = life.master.cluster.experiments[3]
    life.wait(lambda: full.state == "COMPLETED")
    (trained,) = full.trials
    assert overwrites(trained) == {k: v for k, v in overwrites(best).items() if k != "autotuning"}
    assert list(trained.rows("training", "loss")) == [1, 2, 3, 4, 5, 6]
