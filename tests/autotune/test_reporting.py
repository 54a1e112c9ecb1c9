"""What DeepSpeed's autotuning measured is reported; every other exit is left alone."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from determined import core

from conftest import RunTrial
from det_files.autotune.reporting import autotuning_file, dsat_reporting_context
from det_files.cluster.metrics import JsonlTrainContext

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
    assert row["metrics"] == {"fwd": 1.5, "throughput": 100.0, "rank": 0.0}


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


@pytest.mark.parametrize("deepspeed", [None, {}, {"autotuning": {"enabled": False}}])
def test_without_autotuning_nothing_is_caught(deepspeed: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit), dsat_reporting_context(context(tmp_path), deepspeed):
        sys.exit()


def test_deepspeed_itself_measures_in_a_trial(run_trial: RunTrial, tmp_path: Path) -> None:
    path = tmp_path / "metric.json"
    autotuning = config(path, start_profile_step=2, end_profile_step=3)
    trial = run_trial(
        tmp_path / "trial",
        deepspeed_config="ds_configs/ds_config_stage_1.json",
        overwrite_deepspeed_args=autotuning,
        training_arguments__max_steps=6,
        training_arguments__eval_strategy="no",
        training_arguments__save_strategy="no",
    )
    assert trial.code == 0, trial.output
    (row,) = trial.rows("validation")
    assert row["steps_completed"] == 3
    assert row["metrics"] == pytest.approx(json.loads(path.read_text()))
    assert row["metrics"]["throughput"] > 0
    assert {"fwd", "bwd", "step", "latency", "FLOPS_per_gpu"} <= row["metrics"].keys()
    assert [r["steps_completed"] for r in trial.rows("training")] == [1, 2, 3]
