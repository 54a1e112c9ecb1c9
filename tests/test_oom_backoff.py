"""oom_backoff: a trial that runs out of memory goes on with less of it, on the same curve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from determined import core
from in_process import run_here
from running_out_of_memory import CUDA_TEXT

from conftest import ROOT, RunTrial, Trial, launch, rank_environment, set_arguments
from det_files.args import RunArgs, RunFacts
from det_files.cluster.metrics import JsonlTrainContext
from det_files.data.arguments import DataArguments
from det_files.models import CAUSAL, PREFERENCE, ModelArguments
from det_files.oom_backoff import (
    Backoff,
    Batches,
    OomBackoff,
    count_backoffs,
    read_backoff,
)
from det_files.tuning.arguments import TuningArguments
from tiny import make_model, make_preferences

HERE = Path(__file__).parent
STEPS = 6
OPTIONS: dict[str, Any] = {
    "training_arguments__max_steps": STEPS,  # an epoch has five
    "training_arguments__save_steps": 2,
    "training_arguments__eval_steps": 3,
    "training_arguments__oom_backoff": True,
}
STAGE_2 = {"deepspeed_config": "ds_configs/ds_config_stage_2.json"}
CUDA = torch.OutOfMemoryError(CUDA_TEXT)


@pytest.mark.parametrize(
    ("micro_batch", "accumulation", "expected"),
    [
        (8, 1, (4, 2)),
        (2, 3, (1, 6)),
        (6, 1, (3, 2)),
        (3, 1, (1, 3)),
        (3, 2, (1, 6)),
        (5, 4, (2, 10)),
        (7, 6, (3, 14)),
        (1, 4, None),
    ],
)
def test_a_smaller_micro_batch_keeps_the_global_one(
    micro_batch: int, accumulation: int, expected: tuple[int, int] | None
) -> None:
    smaller = Batches(micro_batch, accumulation, 5).smaller(evaluating=False)
    assert (smaller and (smaller.micro_batch, smaller.accumulation, smaller.eval_batch)) == (
        expected and (*expected, 5)
    )


def test_evaluation_is_halved_by_itself() -> None:
    assert Batches(8, 1, 5).smaller(evaluating=True) == Batches(8, 1, 2)
    assert Batches(8, 1, 1).smaller(evaluating=True) is None


def make_args(kind: str = CAUSAL, deepspeed: Any = None, **training: Any) -> RunArgs:
    sizes = {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 3,
        "per_device_eval_batch_size": 4,
        "oom_backoff": True,
    }
    return RunArgs(
        facts=RunFacts(kind=kind),
        model=ModelArguments(),
        data=DataArguments(),
        tuning=TuningArguments(),
        training=sizes | training,
        deepspeed=deepspeed,
        hyperparameters={},
    )


class Starts:
    """The starts of one trial whose training fails at once."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory

    def begin(self, args: RunArgs, rank: int = 0) -> OomBackoff:
        distributed: Any = SimpleNamespace(rank=rank, broadcast=lambda found: found)
        train = JsonlTrainContext(self.directory, rank == 0)
        context: Any = SimpleNamespace(distributed=distributed, train=train)
        return OomBackoff(args, context)

    def fail(self, backoff: OomBackoff, error: Exception, phase: str = "training") -> Any:
        """What comes out of a training call that ends so; the trainer it was of."""
        trainer: Any = SimpleNamespace(phase=phase, batch_metrics={})
        with pytest.raises((SystemExit, type(error))) as raised, backoff.watching(trainer):
            raise error
        return raised.value, trainer


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    return Starts(tmp_path / "trial")


def test_the_next_start_has_the_smaller_micro_batch(
    starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = {"train_micro_batch_size_per_gpu": 8, "train_batch_size": 48}
    deepspeed = stated | {"gradient_accumulation_steps": "auto", "bf16": {"enabled": "auto"}}
    args = make_args(deepspeed=deepspeed)
    first = starts.begin(args)
    assert first.args is args
    ended, trainer = starts.fail(first, CUDA)
    assert isinstance(ended, SystemExit) and ended.code == 1
    assert trainer.batch_metrics == {"micro_batch_size": 8, "oom_backoffs": 0}
    (said,) = capsys.readouterr().err.splitlines()
    assert "rank 0 ran out of memory in training (CUDA out of memory." in said
    assert "per_device_train_batch_size 4 (was 8), gradient_accumulation_steps 6 (was 3)" in said

    second = starts.begin(args)
    assert second.args.training == args.training | {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 6,
    }
    assert second.args.deepspeed == deepspeed | {"train_micro_batch_size_per_gpu": 4}
    assert deepspeed["train_micro_batch_size_per_gpu"] == 8
    _, trainer = starts.fail(second, CUDA)
    assert trainer.batch_metrics == {"micro_batch_size": 4, "oom_backoffs": 1}
    assert read_backoff(starts.directory) == Backoff(Batches(8, 3, 4), Batches(2, 12, 4), 2)


def test_log_policies_that_cancel_retries_see_nothing(
    starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in (f"torch.OutOfMemoryError: {CUDA_TEXT}", f"torch.cuda.OutOfMemoryError: {CUDA}"):
        starts.fail(starts.begin(make_args()), torch.OutOfMemoryError(text))
        said = capsys.readouterr().err
        assert "OutOfMemoryError" not in said and "CUDA out of memory" in said


def test_ranks_that_fail_together_back_off_once(starts: Starts) -> None:
    ranks = [starts.begin(make_args(), rank=0), starts.begin(make_args(), rank=0)]
    for rank in ranks:
        starts.fail(rank, CUDA)
    assert count_backoffs(starts.directory) == 1


def test_evaluation_backs_off_by_itself(starts: Starts) -> None:
    starts.fail(starts.begin(make_args()), CUDA, "evaluation")
    changed = starts.begin(make_args()).args.training
    assert changed == make_args().training | {"per_device_eval_batch_size": 2}


@pytest.mark.parametrize(
    ("args", "phase", "error"),
    [
        (make_args(oom_backoff=False), "training", CUDA),
        (make_args(per_device_train_batch_size=1), "training", CUDA),
        (make_args(per_device_eval_batch_size=1), "evaluation", CUDA),
        (make_args(), "preparing", CUDA),
        (make_args(PREFERENCE), "evaluation", CUDA),
        (make_args(), "training", ValueError("another error")),
    ],
)
def test_the_error_is_raised_as_it_is_where_less_cannot_help(
    starts: Starts, args: RunArgs, phase: str, error: Exception
) -> None:
    raised, _ = starts.fail(starts.begin(args), error, phase)
    assert raised is error
    assert count_backoffs(starts.directory) == 0


def test_the_error_is_raised_as_it_is_where_nothing_can_be_recorded(starts: Starts) -> None:
    backoff = starts.begin(make_args())
    starts.directory.rmdir()
    raised, _ = starts.fail(backoff, CUDA)
    assert raised is CUDA


def test_other_metadata_stay_and_another_files_record_is_ignored(starts: Starts) -> None:
    train = JsonlTrainContext(starts.directory, True)
    train.set_metadata({"ticket": "A-7"})
    starts.fail(starts.begin(make_args()), CUDA)
    assert (train.get_metadata() or {})["ticket"] == "A-7"
    changed = make_args(per_device_train_batch_size=4)
    assert starts.begin(changed).args is changed


def test_a_master_keeps_numbers_as_floats() -> None:
    sizes = {"micro_batch": 8.0, "accumulation": 1.0, "eval_batch": 8.0}
    record = {"configured": sizes, "in_force": sizes | {"micro_batch": 4.0}, "count": 1.0}
    found = Backoff.read({"oom_backoff": record})
    assert found == Backoff(Batches(8, 1, 8), Batches(4, 1, 8), 1)
    assert isinstance(found.in_force.micro_batch, int)
    for other in ({}, {"oom_backoff": "mine"}, {"oom_backoff": {"count": 1}}):
        assert Backoff.read(other) is None


def test_metadata_that_cannot_be_read_fail_the_start_on_every_rank() -> None:
    def no_answer() -> None:
        raise OSError("the master is away")

    train: Any = SimpleNamespace(get_metadata=no_answer)
    context: Any = SimpleNamespace(distributed=core.DummyDistributedContext(), train=train)
    with pytest.raises(RuntimeError, match="metadata could not be read: OSError: the master"):
        OomBackoff(make_args(), context)


# -- real trials -----------------------------------------------------------------------------------


def rows_of(trial: Trial, name: str) -> list[float]:
    return [row["metrics"][name] for row in trial.rows("training")]


def assert_same(trial: Trial, whole: Trial, metric: str = "loss") -> None:
    assert rows_of(trial, metric) == pytest.approx(rows_of(whole, metric), rel=1e-5)
    assert len(rows_of(trial, metric)) == STEPS
    mine, other = (one.rows("validation")[-1]["metrics"]["eval_loss"] for one in (trial, whole))
    assert mine == pytest.approx(other, rel=1e-5)


@pytest.fixture
def start_here(
    tiny_overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., bool]:
    """Starts a trial in this process on one rank; False where it backs off."""

    def start(directory: Path, settings: dict[str, str], **overrides: Any) -> bool:
        for name, value in settings.items():
            monkeypatch.setenv(f"OOM_{name}", value)
        batch = {"training_arguments__per_device_train_batch_size": 8}
        try:
            run_here(
                directory, tiny_overrides | batch | OPTIONS | overrides, "running_out_of_memory"
            )
        except SystemExit as ended:
            assert ended.code == 1
            return False
        return True

    return start


def assert_backs_off(
    start_here: Callable[..., bool], directory: Path, starts: int, settings: dict[str, str],
    **overrides: Any,
) -> Trial:  # fmt: skip
    """The trial after so many starts of which the last one ends well."""
    done = [start_here(directory, settings, **overrides) for _ in range(starts)]
    assert done == [False] * (starts - 1) + [True]
    assert count_backoffs(directory) == starts - 1
    return Trial(directory, 0, "")


@pytest.fixture(scope="module")
def whole(run_trial: RunTrial, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """The run that has all the memory it needs."""
    trial = run_trial(tmp_path_factory.mktemp("whole"), **OPTIONS)
    assert trial.code == 0, trial.output
    return trial


def test_one_rank_goes_on_with_the_same_losses(
    start_here: Callable[..., bool], whole: Trial, tmp_path: Path
) -> None:
    """Twice out of memory: at step 4, behind the checkpoint of step 2; then at the third."""
    settings = {"HOW": "allocator", "ROWS": "2", "STEP": "4"}
    trial = assert_backs_off(start_here, tmp_path / "parted", 3, settings)
    assert_same(trial, whole)
    assert rows_of(trial, "micro_batch_size") == [8, 8, 2, 2, 2, 2]
    assert rows_of(trial, "oom_backoffs") == [0, 0, 2, 2, 2, 2]
    resolved = sorted((tmp_path / "parted" / "checkpoints").glob("*/run_args.yaml"))[-1].read_text()
    assert "per_device_train_batch_size: 2" in resolved


def test_evaluation_goes_on_with_the_same_validations(
    start_here: Callable[..., bool], whole: Trial, tmp_path: Path
) -> None:
    settings = {"IN": "evaluation", "HOW": "torch", "ROWS": "4"}
    trial = assert_backs_off(start_here, tmp_path / "parted", 2, settings)
    assert_same(trial, whole)
    assert rows_of(trial, "micro_batch_size") == [8] * STEPS
    backoff = read_backoff(tmp_path / "parted")
    assert backoff is not None and backoff.in_force == Batches(8, 1, 4)


def test_an_encoder_decoder(
    start_here: Callable[..., bool], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = make_model(tmp_path_factory.mktemp("t5"), "t5")
    options = {"model_arguments__model_name_or_path": str(model)}
    settings = {"MODULE": "det_files.run_seq2seq", "ROWS": "99"}
    assert start_here(tmp_path / "whole", settings, **options)
    settings |= {"ROWS": "4", "STEP": "3"}
    trial = assert_backs_off(start_here, tmp_path / "parted", 2, settings, **options)
    assert_same(trial, Trial(tmp_path / "whole", 0, ""))


@pytest.mark.parametrize("method", ["dpo", "reward"])
def test_preferences(start_here: Callable[..., bool], tmp_path: Path, method: str) -> None:
    """A pair is two rows of a pass."""
    source = make_preferences(tmp_path / "data")
    options = {
        "data_arguments__sources": [{"path": str(source)}],
        "preference_arguments": {"method": method},
        "training_arguments__per_device_eval_batch_size": 8,
    }
    settings = {"MODULE": "det_files.run_preference", "ROWS": "99"}
    assert start_here(tmp_path / "whole", settings, **options)
    settings |= {"ROWS": "8", "STEP": "4"}
    trial = assert_backs_off(start_here, tmp_path / "parted", 2, settings, **options)
    assert_same(trial, Trial(tmp_path / "whole", 0, ""))
    assert rows_of(trial, "micro_batch_size") == [8, 8, 4, 4, 4, 4]


def test_the_last_row_is_an_error_as_ever(
    start_here: Callable[..., bool], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {"training_arguments__per_device_train_batch_size": 2}
    settings = {"ROWS": "0", "STEP": "2"}
    assert not start_here(tmp_path, settings, **options)
    with pytest.raises(torch.OutOfMemoryError):
        start_here(tmp_path, settings, **options)


def launch_trial(
    directory: Path, ranks: int, base: dict[str, Any], **overrides: Any
) -> subprocess.CompletedProcess[str]:
    batch = {"training_arguments__per_device_train_batch_size": 8 // ranks}
    arguments = set_arguments(base | batch | OPTIONS | overrides)
    script = str(HERE / "running_out_of_memory.py")
    return launch(ranks, [script, "--trial_dir", str(directory), *arguments], 240)


def test_any_rank_of_zero_stage_2(
    whole: Trial, tmp_path: Path,
    tiny_overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Rank 1 alone runs out of memory, and rank 0 waits for it in a collective operation."""
    for name, value in {"HOW": "torch", "ROWS": "2", "STEP": "4", "RANK": "1"}.items():
        monkeypatch.setenv(f"OOM_{name}", value)
    first = launch_trial(tmp_path / "parted", 2, tiny_overrides, **STAGE_2)
    assert first.returncode == 1
    assert "rank 1 ran out of memory in training (CUDA out of memory." in first.stdout
    assert "OutOfMemoryError" not in first.stdout, first.stdout
    second = launch_trial(tmp_path / "parted", 2, tiny_overrides, **STAGE_2)
    assert second.returncode == 0, second.stdout
    assert "out of memory so far: 1; per_device_train_batch_size 2 (was 4)" in second.stdout
    assert_same(Trial(tmp_path / "parted", 0, ""), whole)


def test_a_process_that_reaches_its_limit(
    whole: Trial, tmp_path: Path,
    tiny_overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The allocator's own refusal, of what eight rows need together, under RLIMIT_AS."""
    monkeypatch.setenv("OOM_HOW", "limit")
    monkeypatch.setenv("OOM_STEP", "4")
    done = [launch_trial(tmp_path / "parted", 1, tiny_overrides) for _ in range(2)]
    assert [one.returncode for one in done] == [1, 0], done[-1].stdout
    assert "can't allocate memory: you tried to allocate" in done[0].stdout
    trial = Trial(tmp_path / "parted", 0, "")
    assert rows_of(trial, "micro_batch_size") == [8, 8, 4, 4, 4, 4]
    assert_same(trial, whole)


def test_the_local_runner_starts_it_again_without_spending_a_restart(
    whole: Trial, tmp_path: Path, tiny_overrides: dict[str, Any]
) -> None:
    variables = ["OOM_HOW=torch", "OOM_ROWS=2", "OOM_STEP=4", "OOM_RANK=1"]
    batch = {"training_arguments__per_device_train_batch_size": 4}
    stage_3 = {"deepspeed_config": "ds_configs/ds_config_stage_3.json"}
    hyperparameters: dict[str, Any] = {}
    for name, value in (tiny_overrides | OPTIONS | batch | stage_3).items():
        section, _, key = name.partition("__")
        if key:
            hyperparameters.setdefault(section, {})[key] = value
        else:
            hyperparameters[name] = value
    experiment = {
        "name": "tiny",
        "searcher": {"name": "single", "metric": "eval_loss"},
        "environment": {"environment_variables": variables},
        "hyperparameters": hyperparameters,
        "entrypoint": "python -m determined.launch.deepspeed python -m det_files.run_clm",
        "max_restarts": 0,
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(experiment))
    arguments = [str(file), "--slots", "2", "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run(
        [sys.executable, str(HERE / "local" / "out_of_memory_runner.py"), *arguments],
        cwd=ROOT,
        env=rank_environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(HERE)])),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    note = "out of memory (oom_backoff): restarting from step 2 with per_device_train_batch_size 2"
    assert note in done.stderr
    assert "lower per_device_train_batch_size" not in done.stderr and "failed" not in done.stderr
    run = ROOT / done.stdout.splitlines()[-1]
    (entry,) = json.loads((run / "summary.json").read_text())["trials"]
    assert (entry["state"], entry["restarts"], entry["oom_backoffs"]) == ("COMPLETED", 0, 1)
    assert entry["final"]["micro_batch_size"] == 2
    assert_same(Trial(run / "trials" / "1", 0, ""), whole)
