"""DetCallback in a real Trainer, as an ordered log of what the core context and the Trainer do.

ask           should_preempt was called       train 2     a row of training metrics was reported
evaluated 2   the Trainer evaluated           val 2       a row of validation metrics was
saved 2       the Trainer saved               upload 2    its checkpoint was uploaded
ack           the preemption was acknowledged 50%         progress was reported
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import core
from determined._info import ClusterInfo, TrialInfo
from determined.common.storage import SharedFSStorageManager
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from det_files.cluster.callback import DetCallback
from det_files.cluster.metrics import WORST
from tiny import ARCHITECTURES

SEARCHER = {"metric": "eval_loss", "smaller_is_better": True}
Rows = list[dict[str, torch.Tensor]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices are tiny: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class RecordedTrain(core.DummyTrainContext):
    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self._events = events
        self.rows: dict[str, dict[str, Any]] = {}

    def _note(self, kind: str, step: int, metrics: dict[str, Any]) -> None:
        self._events.append(f"{kind} {step}")
        self.rows[f"{kind} {step}"] = metrics

    def report_training_metrics(
        self, steps_completed: int, metrics: dict[str, Any], batch_metrics: Any = None
    ) -> None:
        self._note("train", steps_completed, metrics)

    def report_validation_metrics(self, steps_completed: int, metrics: dict[str, Any]) -> None:
        self._note("val", steps_completed, metrics)

    def report_progress(self, progress: float) -> None:
        self._events.append(f"{progress:.0%}")


class RecordedCheckpoint(core.DummyCheckpointContext):
    def __init__(self, events: list[str], directory: Path) -> None:
        super().__init__(core.DummyDistributedContext(), SharedFSStorageManager(str(directory)))
        self._events = events
        self.uploaded: dict[int, tuple[str, dict[str, Any]]] = {}

    def upload(self, ckpt_dir: Any, metadata: Any = None, **options: Any) -> str:
        uuid = super().upload(ckpt_dir, metadata, **options)
        step = metadata["steps_completed"]
        self._events.append(f"upload {step}")
        self.uploaded[step] = (uuid, metadata)
        return uuid


class RecordedPreempt(core.DummyPreemptContext):
    """Asks to stop from the call of the given number on, as a master does until the end."""

    def __init__(self, events: list[str], from_call: int) -> None:
        super().__init__(core.DummyDistributedContext())
        self._events, self._calls, self._from = events, 0, from_call

    def should_preempt(self, auto_ack: bool = True) -> bool:
        super().should_preempt(auto_ack)
        assert not auto_ack  # the checkpoint comes first
        self._calls += 1
        self._events.append("ask")
        return self._calls >= self._from

    def acknowledge_preemption_signal(self) -> None:
        self._events.append("ack")


class Watcher(TrainerCallback):
    """Notes what the Trainer itself did, before DetCallback hears of it."""

    def __init__(self, events: list[str]) -> None:
        self._events = events

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._events.append(f"evaluated {state.global_step}")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._events.append(f"saved {state.global_step}")


class Run:
    """A Trainer of 2 epochs of 3 steps on 6 rows, and all that it did."""

    def __init__(self, directory: Path, stop_from: int = 99, info: Any = None) -> None:
        self.events: list[str] = []
        self.directory = directory
        self.train = RecordedTrain(self.events)
        self.checkpoint = RecordedCheckpoint(self.events, directory / "storage")
        self.context = core.Context(
            checkpoint=self.checkpoint,
            train=self.train,
            preempt=RecordedPreempt(self.events, stop_from),
            info=info,
        )

    def __call__(
        self,
        det: dict[str, Any] | None = None,
        datasets: Any = None,
        metrics: Callable[[Any], dict[str, float]] | None = None,
        **arguments: Any,
    ) -> Run:
        config = AutoConfig.for_model("llama", **ARCHITECTURES["llama"] | {"hidden_size": 8})
        options = {
            "per_device_train_batch_size": 2,
            "num_train_epochs": 2,
            "logging_steps": 2,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "eval_strategy": "no",
            "save_strategy": "no",
            "save_only_model": True,
        }
        self.args = TrainingArguments(str(self.directory / "out"), **options | arguments)
        with self.context:
            self.callback = DetCallback(
                self.context, self.args, **{"searcher": SEARCHER} | (det or {})
            )
            self.trainer = Trainer(
                AutoModelForCausalLM.from_config(config),
                self.args,
                train_dataset=rows(),
                eval_dataset=rows()[:2] if datasets is None else datasets,
                compute_metrics=metrics,
                callbacks=[Watcher(self.events), self.callback],
            )
            self.output = self.trainer.train(
                resume_from_checkpoint=self.args.resume_from_checkpoint
            )
        return self

    @property
    def log(self) -> str:
        return ", ".join(self.events)

    @property
    def log_without_progress(self) -> str:
        """On a cluster progress is reported from a thread, at any time."""
        return ", ".join(event for event in self.events if not event.endswith("%"))


def rows() -> Rows:
    ids = torch.arange(24).reshape(6, 4)
    return [{"input_ids": row, "labels": row} for row in ids]


STEPS = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
EPOCHS = {"eval_strategy": "epoch", "save_strategy": "epoch"}
AT_2 = "33%, train 2"
AT_4 = "67%, train 4"
AT_6 = "100%, train 6"
END = "100%"


def both(step: int) -> str:
    return f"evaluated {step}, saved {step}, upload {step}, val {step}"


@pytest.mark.parametrize(
    ("stop_from", "arguments", "log", "preempted"),
    [
        pytest.param(
            99,
            STEPS,
            f"ask, ask, {AT_2}, {both(2)}, ask, ask, {AT_4}, {both(4)}, ask, {AT_6}, {both(6)}, "
            + END,
            False,
            id="steps",
        ),
        pytest.param(
            99,
            EPOCHS,
            f"ask, ask, {AT_2}, ask, {both(3)}, ask, {AT_4}, ask, {AT_6}, {both(6)}, {END}",
            False,
            id="epochs",
        ),
        pytest.param(
            99,
            STEPS | {"eval_steps": 4, "save_steps": 5},
            f"ask, ask, {AT_2}, ask, ask, {AT_4}, evaluated 4, val 4, ask, saved 5, upload 5, "
            f"{AT_6}, {both(6)}, {END}",
            False,
            id="the last step is evaluated and saved though no multiple",
        ),
        pytest.param(
            99,
            STEPS | {"max_steps": 5, "eval_strategy": "epoch", "save_strategy": "epoch"},
            f"ask, ask, 40%, train 2, ask, {both(3)}, ask, 80%, train 4, {both(5)}, {END}",
            False,
            id="an epoch that max_steps ends",
        ),
        pytest.param(
            99,
            STEPS | {"eval_steps": 3, "save_steps": 3, "logging_steps": 3},
            f"ask, ask, ask, 50%, train 3, {both(3)}, ask, ask, {AT_6}, {both(6)}, {END}",
            False,
            id="ends of epochs that are also steps, once each",
        ),
        pytest.param(
            99,
            {"logging_steps": 100},
            f"ask, ask, ask, ask, ask, {END}",
            False,
            id="nothing is asked for",
        ),
        pytest.param(
            2,
            EPOCHS,
            f"ask, ask, {AT_2}, saved 2, upload 2, ack, 33%",
            True,
            id="stopped within an epoch: saved, uploaded, then acknowledged; not evaluated",
        ),
        pytest.param(
            1,
            {"logging_steps": 100},
            "ask, saved 1, upload 1, ack, 17%",
            True,
            id="stopped at the first step, without save_strategy or a logged row",
        ),
        pytest.param(
            2,
            STEPS,
            f"ask, ask, {AT_2}, {both(2)}, ack, 33%",
            True,
            id="stopped at a step that is due",
        ),
        pytest.param(
            3,
            EPOCHS | {"logging_strategy": "epoch"},
            f"ask, ask, ask, 50%, train 3, {both(3)}, ack, 50%",
            True,
            id="stopped at an epoch's end: what is due then is done before",
        ),
        pytest.param(
            6,
            STEPS | {"eval_steps": 6, "save_steps": 6},
            f"ask, ask, {AT_2}, ask, ask, {AT_4}, ask, {AT_6}, {both(6)}, {END}",
            False,
            id="asked at the last step: completed",
        ),
        pytest.param(
            99,
            EPOCHS | {"eval_strategy": "no"},
            f"ask, ask, {AT_2}, ask, saved 3, upload 3, ask, {AT_4}, ask, {AT_6}, saved 6, "
            f"upload 6, {END}",
            False,
            id="saved without evaluation",
        ),
        pytest.param(
            99,
            STEPS | {"save_strategy": "no", "eval_steps": 3},
            f"ask, ask, {AT_2}, ask, evaluated 3, val 3, ask, {AT_4}, ask, {AT_6}, evaluated 6, "
            f"val 6, {END}",
            False,
            id="evaluated without saving",
        ),
    ],
)
def test_order_of_events(
    stop_from: int, arguments: dict[str, Any], log: str, preempted: bool, tmp_path: Path
) -> None:
    run = Run(tmp_path, stop_from)(**arguments)
    assert run.log == log
    assert run.callback.preempted is preempted


def test_save_strategy_best_does_not_take_a_preemptions_checkpoint_back(tmp_path: Path) -> None:
    scores = iter([2.0, 1.0])  # the second validation is no new best
    run = Run(tmp_path, stop_from=4)(
        metrics=lambda _: {"score": next(scores)},
        metric_for_best_model="score",
        **STEPS | {"save_strategy": "best"},
    )
    assert run.log.endswith("evaluated 4, val 4, saved 4, upload 4, ack, 67%")


def test_several_datasets_are_reported_together(tmp_path: Path) -> None:
    datasets = {"one": rows()[:2], "two": rows()[2:]}
    run = Run(tmp_path, stop_from=4)(
        det={"searcher": {"metric": "eval_two_loss"}}, datasets=datasets, **STEPS
    )
    assert run.log == (
        f"ask, ask, {AT_2}, evaluated 2, evaluated 2, saved 2, upload 2, val 2, "
        f"ask, ask, {AT_4}, evaluated 4, evaluated 4, saved 4, upload 4, val 4, ack, 67%"
    )
    for step in (2, 4):
        assert {"eval_one_loss", "eval_two_loss"} <= run.train.rows[f"val {step}"].keys()
    unsaved = Run(tmp_path)(datasets=datasets, eval_strategy="epoch", logging_steps=100)
    assert unsaved.log == (
        "ask, ask, ask, evaluated 3, evaluated 3, val 3, ask, ask, evaluated 6, evaluated 6, "
        "val 6, 100%"
    )


def test_evaluating_after_training_is_not_reported_again(tmp_path: Path) -> None:
    run = Run(tmp_path)(**STEPS)
    before = run.events.copy()
    run.trainer.evaluate()
    assert run.events == [*before, "evaluated 6"]


def test_rows_are_finite_and_the_searchers_metric_is_then_the_worst(tmp_path: Path) -> None:
    run = Run(tmp_path)(
        det={"searcher": {"metric": "eval_score", "smaller_is_better": False}},
        metrics=lambda _: {"score": math.nan, "other": math.inf, "good": 1.5},
        **STEPS,
    )
    row = run.train.rows["val 2"]
    assert row["eval_score"] == -WORST
    assert row["eval_good"] == 1.5
    assert "eval_other" not in row
    assert row["batches"] == 2.0
    assert row["epochs"] == pytest.approx(2 / 3)
    assert not run.checkpoint.uploaded[2][1]["is_best"]


def test_the_trainers_own_logs_are_left_alone(tmp_path: Path) -> None:
    names = ["loss"]
    run = Run(tmp_path)(det={"filter_metrics": names}, **STEPS)
    assert names == ["loss"]
    assert run.train.rows["train 2"].keys() == {"loss", "batches", "epochs"}
    assert run.train.rows["val 2"].keys() == {"eval_loss", "batches", "epochs"}  # the searcher's
    assert {"train_runtime", "train_loss"} <= run.output.metrics.keys()
    assert not any("batches" in row for row in run.trainer.state.log_history)


def test_metadata_and_files_of_a_checkpoint(tmp_path: Path) -> None:
    user_data = {"author": "me", "steps_completed": -1}
    losses = iter([math.nan, 3.0, 2.0])
    run = Run(tmp_path)(
        det={
            "user_data": user_data,
            "extra_files": {"run_args.yaml": "name: x\n"},
            "searcher": {"metric": "eval_score"},
        },
        metrics=lambda _: {"score": next(losses)},
        **STEPS,
    )
    assert user_data == {"author": "me", "steps_completed": -1}
    assert [run.checkpoint.uploaded[step][1]["is_best"] for step in (2, 4, 6)] == [
        False,
        True,
        True,
    ]
    uuid, metadata = run.checkpoint.uploaded[4]
    assert metadata["author"] == "me"
    assert metadata["steps_completed"] == 4
    assert metadata["epoch"] == pytest.approx(4 / 3)
    stored = tmp_path / "storage" / uuid
    assert (stored / "run_args.yaml").read_text() == "name: x\n"
    assert (stored / "trainer_state.json").is_file()


# On a cluster: the searcher and the latest checkpoint are the master's.


def cluster_info(checkpoint: str | None) -> ClusterInfo:
    trial = TrialInfo(1, 1, 0, {}, {"searcher": {"metric": "eval_score"}}, 0, 1, False, None)
    return ClusterInfo(
        "http://127.0.0.1:9", "c", "a", [0], "t", "a", "token", "TRIAL",
        latest_checkpoint=checkpoint, trial_info=trial,
    )  # fmt: skip


@pytest.fixture
def in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a task's environment has, besides what a ClusterInfo says; nobody answers there."""
    monkeypatch.setenv("DET_SESSION_TOKEN", "token")
    monkeypatch.setenv("DET_USER", "determined")


def test_the_clusters_checkpoint_and_searcher_are_taken(tmp_path: Path, in_a_task: None) -> None:
    first = Run(tmp_path, stop_from=4)(save_only_model=False)
    uuid, _ = first.checkpoint.uploaded[4]
    second = Run(tmp_path, info=cluster_info(uuid))(
        det={"searcher": None},
        metrics=lambda _: {"score": math.nan},
        save_only_model=False,
        eval_strategy="epoch",
    )
    # Steps 5 and 6 only; NaN of the metric that the cluster's searcher names becomes the worst.
    assert second.log_without_progress == "ask, train 6, evaluated 6, val 6"
    assert second.train.rows["val 6"]["eval_score"] == WORST
    resumed_from = Path(str(second.args.resume_from_checkpoint))
    assert resumed_from.name == uuid
    assert not resumed_from.is_relative_to(tmp_path)  # private, not a shared output_dir
    explicit = Run(tmp_path, info=cluster_info("gone"))(
        resume_from_checkpoint=str(tmp_path / "storage" / uuid), save_only_model=False
    )
    assert explicit.log_without_progress == "ask, train 6"


def test_without_the_master_a_damaged_checkpoint_is_named_and_the_trial_fails(
    tmp_path: Path, in_a_task: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Which one comes before it, only the master knows; a restart asks again."""
    first = Run(tmp_path, stop_from=1)()
    uuid, _ = first.checkpoint.uploaded[1]
    weights = tmp_path / "storage" / uuid / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match="could not be listed"):
        Run(tmp_path, info=cluster_info(uuid))()
    assert re.search(r"model\.safetensors: \d+ bytes, the manifest", caplog.text)
