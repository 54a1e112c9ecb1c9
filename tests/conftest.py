"""Fixtures: tiny models and data, made once a session; and trials run as real rank processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
CAUSAL = "det_files.run_clm"
STAGE_3 = {"deepspeed_config": "ds_configs/ds_config_stage_3.json"}
SCATTERED = "overwrite_deepspeed_args__zero_optimization__stage3_gather_16bit_weights_on_model_save"


@pytest.fixture(scope="session", autouse=True)
def own_token_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tokens that tests and their trials make are kept apart from the user's."""
    os.environ["DET_FILES_CACHE"] = str(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(autouse=True)
def own_environment(own_token_cache: None) -> Iterator[None]:
    """What a test, or the code under it, sets in the environment ends with the test.

    Joining a process group sets RANK and more, and the next test's processes would wait for them.
    """
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random float32 Llama of two layers and its tokenizer."""
    from tiny import make_model

    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source directory with 40 / 11 / 5 rows."""
    from tiny import make_data

    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory with real data and Determined's schemas, where this checkout has one."""
    if not SHARED.is_dir():
        pytest.skip("../shared (real data, Determined's schemas, legacy files) is not here")
    return SHARED


def rank_environment(**extra: str) -> dict[str, str]:
    """The environment of rank processes: one thread each, the interpreter's tools first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | extra


@dataclass(frozen=True)
class Trial:
    """A finished trial: its directory, exit code and output."""

    directory: Path
    code: int
    output: str

    def rows(self, group: str) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl of one group; the last one of each step."""
        lines = (self.directory / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if row["group"] == group]
        return list({row["steps_completed"]: row for row in rows}.values())

    def losses(self) -> list[float]:
        return [row["metrics"]["loss"] for row in self.rows("training")]


RunTrial = Callable[..., Trial]
RunJobs = Callable[..., dict[str, Trial]]
RunTrials = Callable[..., dict[str, Trial]]


def set_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """`{"training_arguments__max_steps": 5}` as --set arguments for the hyperparameters."""
    return [
        argument
        for name, value in overrides.items()
        for argument in ("--set", f"hyperparameters.{name.replace('__', '.')}={json.dumps(value)}")
    ]


def start(command: list[str]) -> subprocess.Popen[str]:
    """Starts a command of the checkout; its output, stderr included, is piped."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=rank_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def launch(ranks: int, arguments: list[str], timeout_s: int) -> subprocess.CompletedProcess[str]:
    """Runs a Python module or script under torchrun in the checkout."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc_per_node", str(ranks), *arguments],
        cwd=ROOT,
        env=rank_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )


@pytest.fixture(scope="session")
def tiny_overrides(tiny_model: Path, tiny_data: Path) -> dict[str, Any]:
    """Hyperparameters of a short float32 run of the tiny model on the tiny data."""
    return {
        "model_arguments__model_name_or_path": str(tiny_model),
        "model_arguments__dtype": "float32",
        "data_arguments__sources": [{"path": str(tiny_data)}],
        "training_arguments__learning_rate": 1e-2,
        "training_arguments__max_steps": 5,
    }


def _arguments(ranks: int, base: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    batch = {"training_arguments__per_device_train_batch_size": 8 // ranks}
    return set_arguments({**base, **batch, **overrides})


@pytest.fixture(scope="session")
def run_trial(tiny_overrides: dict[str, Any]) -> RunTrial:
    """Runs `det_files.run_clm` on the tiny model under torchrun with `ranks` processes.

    Keyword arguments with dots as `__` become hyperparameters:
    `training_arguments__max_steps=5`.
    """

    def run(directory: Path, ranks: int = 1, timeout_s: int = 240, **overrides: Any) -> Trial:
        arguments = ["--trial_dir", str(directory), *_arguments(ranks, tiny_overrides, overrides)]
        done = launch(ranks, ["-m", "det_files.run_clm", *arguments], timeout_s)
        return Trial(directory, done.returncode, done.stdout)

    return run


@pytest.fixture(scope="session")
def run_jobs() -> RunJobs:
    """Runs many trials, name → arguments of a module, one after another in one process group.

    The first failure ends the group; `output` is that of all of them.
    """

    def run(
        directory: Path,
        ranks: int,
        jobs: Mapping[str, list[str]],
        module: str = CAUSAL,
        timeout_s: int = 500,
    ) -> dict[str, Trial]:
        described = [
            {
                "name": name,
                "module": module,
                "arguments": ["--trial_dir", str(directory / name), *arguments],
            }
            for name, arguments in jobs.items()
        ]
        jobs_file = directory / "jobs.json"
        jobs_file.write_text(json.dumps(described))
        script = str(Path(__file__).with_name("many_trials.py"))
        done = launch(ranks, [script, str(jobs_file)], timeout_s)
        return {name: Trial(directory / name, done.returncode, done.stdout) for name in jobs}

    return run


@pytest.fixture(scope="session")
def run_trials(tiny_overrides: dict[str, Any], run_jobs: RunJobs) -> RunTrials:
    """As `run_trial` for many: name → hyperparameters, in one process group."""

    def run(
        directory: Path,
        ranks: int,
        trials: Mapping[str, Mapping[str, Any]],
        module: str = CAUSAL,
    ) -> dict[str, Trial]:
        jobs = {
            name: _arguments(ranks, tiny_overrides, overrides) for name, overrides in trials.items()
        }
        return run_jobs(directory, ranks, jobs, module)

    return run


@pytest.fixture(scope="session")
def tied_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose output layer is its embedding."""
    from tiny import make_model

    return make_model(tmp_path_factory.mktemp("tied"), tie_word_embeddings=True)


@pytest.fixture(scope="session")
def zero_checkpoints(
    run_trials: RunTrials, tied_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Checkpoints of whole models, trained on two ranks under DeepSpeed.

    gathered: stage 3, with ZeRO shards and model.safetensors; scattered: the same without the
    latter; stage_2: in bfloat16, with both.
    """
    from det_files.trained.locating import find_checkpoint

    short = {"training_arguments__max_steps": 2}
    tied = short | {"model_arguments__model_name_or_path": str(tied_model)}
    trials: Mapping[str, Mapping[str, Any]] = {
        "gathered": STAGE_3 | tied,
        "scattered": STAGE_3 | tied | {SCATTERED: False},
        "stage_2": short
        | {
            "deepspeed_config": "ds_configs/ds_config_stage_2.json",
            "model_arguments__dtype": "bfloat16",
        },
    }
    done: dict[str, Trial] = run_trials(tmp_path_factory.mktemp("zero"), 2, trials)
    for trial in done.values():
        assert trial.code == 0, trial.output
    return {name: find_checkpoint(trial.directory, None) for name, trial in done.items()}


@pytest.fixture(scope="session")
def adapters(tiny_overrides: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """method → the checkpoint of a trial of the tiny Llama in this process, run once each."""
    from export_checkpoints import Adapters

    return Adapters(tmp_path_factory.mktemp("adapters"), tiny_overrides)


@pytest.fixture(scope="session")
def tiny_run(adapters: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that trained a LoRA of the tiny Llama."""
    from tiny_runs import make_run

    return make_run(tmp_path_factory.mktemp("runs") / "1", adapters("lora"))
