"""What DeepSpeed's autotuning measured is reported; every other exit is left alone."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from determined import core

from conftest import RunTrial
from det_files.args import RunArgs, RunFacts
from det_files.autotune import reporting
from det_files.autotune.dsat_names import with_dsat_names
from det_files.autotune.reporting import (
    METRIC_FILE,
    MODEL_INFO_FILE,
    autotuning_file,
    device_bytes,
    dsat_reporting_context,
    with_results_in,
)
from det_files.cluster.metrics import WORST, JsonlTrainContext

MEASURED = {"fwd": 1.5, "throughput": 100, "FLOPS_per_gpu": float("nan"), "rank": 0, "note": "x"}


def context(trial_dir: Path) -> core.Context:
    from determined.common.storage import SharedFSStorageManager

    distributed = core.DummyDistributedContext()
    storage = SharedFSStorageManager(str(trial_dir))
    return core.Context(
        checkpoint=core.DummyCheckpointContext(distributed, storage),
        train=JsonlTrainContext(trial_dir, is_chief=True),
    )


def config(path: Path, **more: Any) -> dict[str, Any]:
    return {"autotuning": {"enabled": True, "metric_path": str(path)} | more}


def reported(trial_dir: Path) -> list[dict[str, Any]]:
    path = trial_dir / "metrics.jsonl"
    return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("section", "path"),
    [
        (None, None),
        ({"enabled": False}, None),
        ({"enabled": True}, "autotuning_metric.json"),
        ({"enabled": True, "metric_path": "m.json"}, "m.json"),
        ({"enabled": True, "model_info": {"profile": True}}, "autotuning_model_info.json"),
        (
            {"enabled": True, "model_info": {"profile": True}, "model_info_path": "i.json"},
            "i.json",
        ),
    ],
)
def test_the_file_is_the_one_that_deepspeed_writes(section: Any, path: str | None) -> None:
    from deepspeed import DeepSpeedEngine
    from deepspeed.autotuning.config import DeepSpeedAutotuningConfig

    found = autotuning_file({"autotuning": section})
    assert found == (Path(path) if path else None)
    if found is None:
        return
    engine = DeepSpeedEngine.__new__(DeepSpeedEngine)
    engine._config = type("C", (), {})()
    engine._config.autotuning_config = DeepSpeedAutotuningConfig({"autotuning": section})
    own = engine.autotuning_metric_path()
    if engine.autotuning_profile_model_info():
        own = engine.autotuning_model_info_path()
    assert found.absolute() == Path(own).absolute()


def test_deepspeeds_exit_is_caught_and_its_file_reported(tmp_path: Path) -> None:
    path = tmp_path / "metric.json"
    with dsat_reporting_context(context(tmp_path), config(path, end_profile_step=7)):
        path.write_text(json.dumps(MEASURED))
        sys.exit()
    (row,) = reported(tmp_path)
    assert (row["group"], row["steps_completed"]) == ("validation", 7)
    assert row["metrics"] == {"fwd": 1.5, "forward": 1.5, "throughput": 100, "rank": 0}


def test_a_profile_of_the_model_comes_with_the_devices_memory(tmp_path: Path) -> None:
    path, info = tmp_path / "i.json", {"num_params": 7, "activation_mem_per_gpu": 0, "rank": 0}
    section = config(path, model_info={"profile": True}, model_info_path=str(path))
    with dsat_reporting_context(context(tmp_path), section):
        path.write_text(json.dumps(info))
        sys.exit()
    (row,) = reported(tmp_path)
    memory = row["metrics"].pop("gpu_mem")
    assert row["metrics"] == info and row["steps_completed"] == 1
    assert isinstance(memory, int) and 2**30 < memory == device_bytes(context(tmp_path))


@pytest.mark.parametrize("ending", [SystemExit(3), SystemExit(0), ValueError("x")])
def test_other_ends_pass(ending: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "metric.json"
    with pytest.raises(type(ending)), dsat_reporting_context(context(tmp_path), config(path)):
        path.write_text(json.dumps(MEASURED))
        raise ending
    assert reported(tmp_path) == []


@pytest.mark.parametrize("content", [None, "{", ""])
def test_an_exit_without_a_readable_result_is_an_error(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "metric.json"
    path.write_text(json.dumps(MEASURED))  # of an earlier run: it must not be taken for this one's
    unreadable = pytest.raises(RuntimeError, match=f"left no readable {path}")
    with unreadable, dsat_reporting_context(context(tmp_path), config(path)):
        assert not path.exists()
        if content is not None:
            path.write_text(content)
        sys.exit()


def test_training_that_ends_before_the_profiled_steps_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reporting = dsat_reporting_context(context(tmp_path), config(tmp_path / "metric.json"))
    with caplog.at_level(logging.WARNING), reporting:
        pass
    assert "ended before DeepSpeed measured anything" in caplog.text
    assert reported(tmp_path) == []


class Operation:
    """An operation of Determined's searchers, up to 0.37."""

    completed: Any = None

    def report_completed(self, metric: Any) -> None:
        self.completed = metric


@pytest.fixture
def operation(monkeypatch: pytest.MonkeyPatch) -> Operation:
    waiting = Operation()
    monkeypatch.setattr(reporting, "first_operation", lambda context: waiting)
    return waiting


@pytest.mark.parametrize(
    ("searcher", "told"),
    [
        ({"name": "custom", "metric": "m"}, {"fwd": 1.5, "forward": 1.5, "throughput": 100}),
        ({"name": "random", "metric": "throughput", "smaller_is_better": False}, 100),
        ({"name": "random", "metric": "forward"}, 1.5),
        ({"name": "single", "metric": "eval_loss"}, WORST),
        ({"name": "single", "metric": "eval_bleu", "smaller_is_better": False}, -WORST),
    ],
)
def test_an_operation_is_completed_with_what_its_searcher_wants(
    searcher: dict[str, Any],
    told: Any,
    operation: Operation,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    acknowledged = []
    in_trial = context(tmp_path)
    in_trial.searcher = mock.Mock()
    in_trial.searcher.acknowledge_out_of_ops = lambda: acknowledged.append(operation.completed)
    monkeypatch.setattr(reporting, "searcher_of", lambda context: searcher)
    path = tmp_path / "metric.json"
    with dsat_reporting_context(in_trial, config(path)):
        path.write_text(json.dumps({"fwd": 1.5, "throughput": 100}))
        sys.exit()
    assert operation.completed == told and acknowledged == [told]


@pytest.mark.parametrize("preempted", [True, False])
def test_a_searcher_is_not_left_waiting(
    preempted: bool, operation: Operation, tmp_path: Path
) -> None:
    """A trial that ends well without a result would never be replaced."""
    in_trial = context(tmp_path)
    in_trial.preempt = mock.Mock()
    in_trial.preempt.should_preempt.return_value = preempted
    missing = pytest.raises(RuntimeError, match="the searcher would wait for ever")
    reporting_context = dsat_reporting_context(in_trial, config(tmp_path / "metric.json"))
    with nullcontext() if preempted else missing, reporting_context:
        pass
    in_trial.preempt.should_preempt.assert_called_once_with(auto_ack=False)
    assert operation.completed is None


@pytest.mark.parametrize("deepspeed", [None, {}, {"autotuning": {"enabled": False}}])
def test_without_autotuning_nothing_is_caught(deepspeed: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit), dsat_reporting_context(context(tmp_path), deepspeed):
        sys.exit()


def test_files_lie_in_the_trials_directory(tmp_path: Path) -> None:
    """Several trials on one machine have one working directory."""

    def placed(deepspeed: dict[str, Any] | None) -> Any:
        args = RunArgs(RunFacts(), *[None] * 4, deepspeed, {})  # type: ignore[list-item]
        found = with_results_in(args, tmp_path)
        assert args.deepspeed == deepspeed  # nothing given is changed
        return found.deepspeed

    for deepspeed in (None, {}, {"autotuning": {"enabled": False}}, {"autotuning": "x"}):
        assert placed(deepspeed) == deepspeed
    section = {"enabled": True, "start_profile_step": 2}
    names = {"metric_path": METRIC_FILE, "model_info_path": MODEL_INFO_FILE}
    paths = {key: str(tmp_path / name) for key, name in names.items()}
    assert placed({"autotuning": section}) == {"autotuning": section | paths}
    given = {"metric_path": "/m.json", "model_info_path": "i.json"}
    paths = {"metric_path": "/m.json", "model_info_path": str(tmp_path / "i.json")}
    assert placed({"autotuning": section | given}) == {"autotuning": section | paths}


NO_CHECKPOINTS = {
    "training_arguments__max_steps": 6,
    "training_arguments__eval_strategy": "no",
    "training_arguments__save_strategy": "no",
}


@pytest.mark.parametrize(("ranks", "stage"), [(1, 1), (2, 2), (2, 3)])
def test_deepspeed_itself_measures_in_a_trial(
    run_trial: RunTrial, tmp_path: Path, ranks: int, stage: int
) -> None:
    """Batch sizes as a search writes them take effect, in DeepSpeed and in training."""
    section = {"enabled": True, "start_profile_step": 2, "end_profile_step": 3}
    sizes = {"train_micro_batch_size_per_gpu": 3, "gradient_accumulation_steps": 2}
    trial = run_trial(
        tmp_path / "trial",
        ranks=ranks,
        deepspeed_config=f"ds_configs/ds_config_stage_{stage}.json",
        overwrite_deepspeed_args={"autotuning": section, "train_batch_size": 6 * ranks} | sizes,
        **NO_CHECKPOINTS,
    )
    assert trial.code == 0, trial.output
    (row,) = trial.rows("validation")
    metrics = row["metrics"]
    assert row["steps_completed"] == 3
    measured = json.loads((trial.directory / METRIC_FILE).read_text())
    assert metrics == pytest.approx(with_dsat_names(measured))
    assert {"fwd", "bwd", "step", "latency", "FLOPS_per_gpu"} <= measured.keys()
    assert (metrics["forward"], metrics["backward"]) == (measured["fwd"], measured["bwd"])
    # Rows a second, and microseconds a step.
    assert metrics["throughput"] * metrics["latency"] / 1e6 == pytest.approx(6 * ranks)
    assert [r["steps_completed"] for r in trial.rows("training")] == [1, 2, 3]
    assert [r["metrics"]["epochs"] for r in trial.rows("training")] == pytest.approx(
        [6 * ranks * step / 40 for step in (1, 2, 3)], rel=0.2
    )


@pytest.mark.parametrize(("ranks", "stage"), [(1, 1), (2, 3)])
def test_deepspeed_itself_profiles_the_model(
    run_trial: RunTrial, tmp_path: Path, ranks: int, stage: int
) -> None:
    section = {"enabled": True, "model_info": {"profile": True}, "model_info_path": "info.json"}
    trial = run_trial(
        tmp_path / "trial",
        ranks=ranks,
        deepspeed_config=f"ds_configs/ds_config_stage_{stage}.json",
        overwrite_deepspeed_args={"autotuning": section},
        **NO_CHECKPOINTS,
    )
    assert trial.code == 0, trial.output
    (row,) = trial.rows("validation")
    info = json.loads((trial.directory / "info.json").read_text())
    assert row["metrics"].items() >= info.items() and row["metrics"]["gpu_mem"] > 2**30
    assert row["metrics"]["num_params"] == row["metrics"]["trainable_num_params"] == 43168
    assert trial.rows("training") == []
