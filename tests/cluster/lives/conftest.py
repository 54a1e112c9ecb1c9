"""Lives of trials: experiments that the real `det` submits to a stand-in master.

What is real: the command line, `prep_container`, startup-hook.sh, `determined.exec.launch`, the
launchers with their process trees, `core.init` and all of ours. What is not like a cluster:

- a container is a set of ordinary processes with a directory of its own; `determined`'s sources are
  read with the fixed paths /run/determined, /tmp and /determined_shared_fs replaced by it
  (`standin/relocation`), and network, process ids and the rest of the file system are shared;
- there is no image: Python is this environment's, so the hook finds everything in place;
- output is read from a pipe, not shipped by Determined's ship_logs.py, and log policies are matched
  on the lines here;
- the master is one process without a database; it starts containers at once and never loses one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.standin.life import Life
from cluster.standin.master import OPERATIONS, Master
from conftest import ROOT, RunTrial

ONE_SLOT = "python3 -m det_files.run_clm"
TORCH = "python3 -m determined.launch.torch_distributed python3 -m det_files.run_clm"
DEEPSPEED = "python3 -m determined.launch.deepspeed python3 -m det_files.run_clm"


MakeLife = Callable[..., Life]
MakeExperiment = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def bare_context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout without startup-hook.sh, which imports torch for seconds at each start."""
    context = tmp_path_factory.mktemp("context")
    for name in ("det_files", "ds_configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, context / name, ignore=ignored)
    return context


@pytest.fixture
def make_life(bare_context: Path) -> Iterator[MakeLife]:
    """Makes lives: `make_life(agents=[2])` has one agent with two slots."""
    made: list[Life] = []

    def make(agents: list[int] | None = None) -> Life:
        # A short path: it holds Unix sockets, whose names have at most 107 characters.
        directory = Path(tempfile.mkdtemp(prefix="life-"))
        life = Life(Master(directory / "c", agents or [1]), directory, bare_context)
        made.append(life)
        return life

    yield make
    for life in made:
        life.master.close()
        shutil.rmtree(life.directory, ignore_errors=True)


@pytest.fixture
def life(make_life: MakeLife) -> Life:
    """A cluster of one slot."""
    return make_life()


@pytest.fixture(scope="session")
def experiment(tiny_model: Path, tiny_data: Path) -> MakeExperiment:
    """Makes experiments: 6 steps of the tiny model in float32, evaluated and saved every 2.

    Keyword arguments name places with dots as `__`, as in `training_arguments__max_steps=8` for
    hyperparameters, or whole sections of the file.
    """
    base = {
        "model_arguments": {"model_name_or_path": str(tiny_model), "dtype": "float32"},
        "data_arguments": {"sources": [{"path": str(tiny_data)}]},
        "tuning_arguments": {"method": "full"},
        "training_arguments": {
            "learning_rate": 1e-2,
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "eval_steps": 2,
            "save_steps": 2,
        },
    }
    sections = ("searcher", "resources", "entrypoint", "max_restarts", "environment")

    def make(**changes: Any) -> dict[str, Any]:
        hyperparameters = json.loads(json.dumps(base))
        config: dict[str, Any] = {
            "name": "life",
            "resources": {"slots_per_trial": 1},
            "searcher": {"name": "single", "metric": "eval_loss"},
            "entrypoint": ONE_SLOT,
            "max_restarts": 0,
            "log_policies": [{"pattern": "ConfigError: ", "action": {"type": "cancel_retries"}}],
        }
        for name, value in changes.items():
            if name in sections:
                config[name] = value
                continue
            if name == "deepspeed_config":
                hyperparameters[name] = value
                continue
            *parents, leaf = name.split("__")
            place = hyperparameters
            for parent in parents:
                place = place[parent]
            place[leaf] = value
        searcher = config["searcher"]
        if OPERATIONS and "max_length" not in searcher:
            steps = hyperparameters["training_arguments"]["max_steps"]
            config["searcher"] = searcher | {"max_length": {"batches": steps}}
        return config | {"hyperparameters": hyperparameters}

    return make


@pytest.fixture(scope="session")
def losses(
    run_trial: RunTrial, experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, float]:
    """Losses by step of the same run off-cluster, undisturbed: every life must have them."""
    hyperparameters = experiment()["hyperparameters"]
    flat = {f"{s}__{k}": v for s, values in hyperparameters.items() for k, v in values.items()}
    trial = run_trial(tmp_path_factory.mktemp("undisturbed") / "trial", ranks=1, **flat)
    assert trial.code == 0, trial.output
    return {row["steps_completed"]: row["metrics"]["loss"] for row in trial.rows("training")}


def slow_to_evaluate(life: Life, config: dict[str, Any]) -> dict[str, Any]:
    """The experiment with its val split sixty times over, row by row: a second or two."""
    hyperparameters = config["hyperparameters"]
    (source,) = hyperparameters["data_arguments"]["sources"]
    data = life.directory / "data"
    shutil.copytree(source["path"], data)
    for file in (data / "val").iterdir():
        file.write_text(file.read_text() * 60)
    hyperparameters["data_arguments"]["sources"] = [{"path": str(data)}]
    hyperparameters["training_arguments"]["per_device_eval_batch_size"] = 1
    return config
