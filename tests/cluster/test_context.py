"""open_core off-cluster: a trial's directory, its places, and what is refused before training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import determined
import pytest
from determined._info import ClusterInfo
from forked_ranks import on_two_ranks

from det_files.args import RunArgs, RunFacts
from det_files.cluster.checkpoint_directory import DirectoryCheckpointContext
from det_files.cluster.checkpoints import upload
from det_files.cluster.context import TrialCore, open_core
from det_files.data.arguments import DataArguments
from det_files.faults import ConfigError
from det_files.models import ModelArguments
from det_files.tuning.arguments import TuningArguments


@pytest.fixture(autouse=True)
def off_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RANK", "CROSS_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(determined._info, "_info", None)
    yield


def run_args(trial_dir: Path | None, deepspeed: Any = None, **training: Any) -> RunArgs:
    return RunArgs(
        facts=RunFacts(name="tiny", trial_dir=trial_dir),
        model=ModelArguments(),
        data=DataArguments(),
        tuning=TuningArguments(),
        training={"use_cpu": True} | training,
        deepspeed=deepspeed,
        hyperparameters={},
    )


def save(core: TrialCore, step: int) -> Path:
    staged = core.output_dir / f"checkpoint-{step}"
    staged.mkdir()
    (staged / "trainer_state.json").write_text("{}")
    uuid = upload(core.context, staged, {"steps_completed": step})
    assert isinstance(core.context.checkpoint, DirectoryCheckpointContext)
    return core.context.checkpoint.directory / uuid


def test_a_trials_directory_holds_all_that_it_leaves(tmp_path: Path) -> None:
    args = run_args(tmp_path / "trial")
    with open_core(args) as core:
        assert core.is_chief
        assert core.on_cpu
        assert core.latest_checkpoint is None
        assert core.tensorboard_dir == tmp_path / "trial" / "tensorboard"
        core.context.train.report_validation_metrics(1, {"eval_loss": 0.5})
        saved = save(core, 1)
        (tmp_path / "trial" / "stop").touch()
        assert core.context.preempt.should_preempt()
    row = json.loads((tmp_path / "trial" / "metrics.jsonl").read_text())
    assert row["metrics"] == {"eval_loss": 0.5}
    assert (tmp_path / "trial" / "preempted").exists()
    assert not core.output_dir.exists()  # staging is of no use any more
    with open_core(args) as core:
        assert core.latest_checkpoint == saved


def test_staging_is_empty_at_the_start_and_kept_after_a_failure(tmp_path: Path) -> None:
    args = run_args(tmp_path)
    with pytest.raises(RuntimeError, match="boom"), open_core(args) as core:
        (core.output_dir / "checkpoint-1").mkdir()
        raise RuntimeError("boom")
    assert (core.output_dir / "checkpoint-1").exists()
    with open_core(args) as core:
        assert list(core.output_dir.iterdir()) == []


def test_trials_with_one_output_dir_do_not_meet_in_it(tmp_path: Path) -> None:
    args = [run_args(tmp_path / name, output_dir=str(tmp_path / "out")) for name in "ab"]
    with open_core(args[0]) as first:
        save(first, 1)
        with open_core(args[1]) as second:
            assert first.output_dir != second.output_dir
            assert second.output_dir.parent == tmp_path / "out"
        assert (first.output_dir / "checkpoint-1").exists()


def test_a_config_error_is_left_for_whoever_started_the_trial(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), open_core(run_args(tmp_path)):
        raise ConfigError("no such model")
    assert (tmp_path / "config_error").read_text() == "ConfigError: no such model\n"


def test_without_a_directory_the_next_number_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "tiny" / "1").mkdir(parents=True)
    with open_core(run_args(None)) as core:
        trial = tmp_path / "runs" / "tiny" / "2" / "trials" / "1"
        assert core.tensorboard_dir.parent == trial
    assert capsys.readouterr().out == f"results go to {trial}\n"


def test_its_own_checkpoint_wins_over_the_one_that_was_named(tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.mkdir()
    (named / "trainer_state.json").write_text("{}")
    args = run_args(tmp_path / "trial", resume_from_checkpoint=str(named))
    with open_core(args) as core:
        assert core.latest_checkpoint == named
        own = save(core, 1)
    with open_core(args) as core:
        assert core.latest_checkpoint == own


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (None, "is no directory"),
        ({}, "is incomplete: trainer_state.json is missing"),
        ({"trainer_state.json": "{}", "manifest.json": "{"}, "no readable manifest"),
    ],
)
def test_a_named_checkpoint_must_be_whole(
    files: dict[str, str] | None, fault: str, tmp_path: Path
) -> None:
    named = tmp_path / "named"
    if files is not None:
        named.mkdir()
        for name, text in files.items():
            (named / name).write_text(text)
    args = run_args(tmp_path / "trial", resume_from_checkpoint=str(named))
    refused = pytest.raises(ConfigError, match=f"resume_from_checkpoint: {named} .*{fault}")
    with refused, open_core(args):
        pytest.fail("opened")


def test_nvme_offload_needs_its_drive(tmp_path: Path) -> None:
    offload = {"device": "nvme", "nvme_path": str(tmp_path / "no_drive")}
    deepspeed = {"zero_optimization": {"stage": 3, "offload_param": offload}}
    refused = pytest.raises(ConfigError, match=f"{tmp_path}/no_drive is not a writable directory")
    with refused, open_core(run_args(tmp_path / "trial", deepspeed)):
        pytest.fail("opened")
    # Left for the runner, which then does not try again.
    assert "no_drive" in (tmp_path / "trial" / "config_error").read_text()


def test_a_notebook_of_a_cluster_is_not_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = ClusterInfo("http://m:8080", "c", "a", [], "t", "a", "token", "NOTEBOOK")
    monkeypatch.setattr(determined._info, "_info", notebook)
    with open_core(run_args(tmp_path)) as core:
        assert core.tensorboard_dir == tmp_path / "tensorboard"


@pytest.mark.parametrize("alike", [True, False])
def test_ranks_with_different_data_are_refused_together(tmp_path: Path, alike: bool) -> None:
    def agree(rank: int) -> str:
        with open_core(run_args(tmp_path / "trial")) as core:
            try:
                core.agree_on("data", "a" if alike else f"a{rank}")
            except ConfigError as error:
                return str(error)
            return "agreed"

    said = on_two_ranks(agree)
    words = (
        "agreed" if alike else "the ranks do not have the same data: are all hosts' files alike?"
    )
    assert [words in answer for answer in said] == [True, True]
