"""Event files land in the directory that was given, with the values that were logged."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerControl, TrainerState, TrainingArguments

from det_files.cluster.tensorboard import TensorBoardCallback


def test_scalars_are_written_where_they_are_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "elsewhere"))
    callback = TensorBoardCallback(tmp_path / "events")
    args = TrainingArguments(str(tmp_path / "out"), report_to="none", use_cpu=True)
    state, control = TrainerState(global_step=3), TrainerControl()
    callback.on_train_begin(args, state, control)
    callback.on_log(args, state, control, logs={"loss": 0.5, "eval_loss": 2.0})
    callback.on_train_end(args, state, control)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(3, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("eval/loss")] == [(3, 2.0)]
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "elsewhere").exists()
