"""Every experiment file: Determined's schema, our validation, its siblings, and two real steps."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from schema import schema_errors

from conftest import ROOT, RunJobs, Trial, set_arguments
from det_files.args import RunArgs
from det_files.experiment import Experiment, load_experiment
from det_files.validate import check_experiment
from tiny import make_model

FILES = sorted((ROOT / "experiments").glob("*.yaml"))
# The first part of a file's name → the architecture that stands in for its model.
ARCHITECTURE = {
    "swallow": "llama",
    "llama3": "llama",
    "smollm2": "llama",
    "gpt2": "gpt2",
    "opt": "opt",
    "bloom": "bloom",
    "qwen3": "qwen3",
}
# What files of one model may differ in, as paths; everything else must be the same.
AXES = (
    "name",
    "resources.slots_per_trial",
    "hyperparameters.deepspeed_config",
    "hyperparameters.training_arguments.per_device_train_batch_size",
    "hyperparameters.training_arguments.gradient_accumulation_steps",
)
by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def load(path: Path) -> Experiment:
    return load_experiment(path)


def checked(path: Path) -> RunArgs:
    return check_experiment(load(path), context=ROOT)


@by_file
def test_validates_without_warnings(path: Path) -> None:
    experiment = load(path)
    check_experiment(experiment, context=ROOT)
    assert experiment.warnings == []


@by_file
def test_passes_determineds_schema(path: Path, shared: Path) -> None:
    assert schema_errors(path, shared / "expconf" / "v0") == []


def test_the_schema_refuses(tmp_path: Path, shared: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(FILES[0].read_text() + "no_such_key: 1\n")
    assert schema_errors(bad, shared / "expconf" / "v0")


@by_file
def test_is_named_after_its_file(path: Path) -> None:
    assert load(path).name == path.stem


@by_file
def test_image_has_the_pinned_torch(path: Path) -> None:
    pin = re.search(r"^torch==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pin is not None
    image = load(path).config["environment"]["image"]
    assert image.startswith(f"pytorch/pytorch:{pin[1]}-cuda")


@by_file
def test_header_says_how_to_run_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert f"#   det experiment create experiments/{path.name} ." in header
    assert len(lines) <= 48 and all(len(line) <= 100 for line in lines)


@by_file
def test_a_configuration_error_is_not_retried(path: Path) -> None:
    policies = load(path).config["log_policies"]
    patterns = [p["pattern"] for p in policies if p["action"] == {"type": "cancel_retries"}]
    assert any(re.search(pattern, "ConfigError: 2 faults in x") for pattern in patterns)


def families() -> dict[str, list[Path]]:
    """Files of one model: all that differ in the last part of the name only."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in FILES:
        if "_ds" in path.stem:
            found[path.stem.split("_ds")[0]].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: json.dumps(tree)}
    return {
        key: value
        for name, item in tree.items()
        for key, value in flat(item, f"{path}.{name}" if path else name).items()
    }


@pytest.mark.parametrize("family", families())
def test_siblings_differ_along_declared_axes(family: str) -> None:
    configs = [flat(load(path).config) for path in families()[family]]
    differing = {
        key for key in set().union(*configs) if len({config.get(key) for config in configs}) > 1
    }
    assert differing <= set(AXES)


@pytest.mark.parametrize("family", families())
def test_siblings_have_one_global_batch(family: str) -> None:
    batches = set()
    for path in families()[family]:
        args = checked(path)
        per_rank = (
            args.training["per_device_train_batch_size"]
            * args.training["gradient_accumulation_steps"]
        )
        batches.add(per_rank * args.facts.slots)
    assert len(batches) == 1


@pytest.fixture(scope="module")
def two_steps(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, run_jobs: RunJobs
) -> dict[str, Trial]:
    """Every file for two steps with 2 ranks: its own stage, method, precision and batch."""
    directory = tmp_path_factory.mktemp("experiments")
    models = {a: make_model(directory / a, a) for a in set(ARCHITECTURE.values())}
    jobs = {}
    for path in FILES:
        overrides = {
            "model_arguments__model_name_or_path": str(models[ARCHITECTURE[family_of(path)]]),
            "data_arguments__sources": [{"path": str(tiny_data)}],
            "training_arguments__max_steps": 2,
            "training_arguments__eval_steps": 2,
            "training_arguments__save_steps": 2,
        }
        jobs[path.stem] = ["--experiment", str(path), *set_arguments(overrides)]
    return run_jobs(directory, 2, jobs)


def family_of(path: Path) -> str:
    return path.stem.split("_")[0]


@by_file
def test_trains_two_steps(path: Path, two_steps: dict[str, Trial]) -> None:
    trial = two_steps[path.stem]
    assert f"trial {path.stem} done" in trial.output, trial.output[-5000:]
    assert [row["steps_completed"] for row in trial.rows("training")] == [1, 2]
    assert [row["steps_completed"] for row in trial.rows("validation")] == [2]
    checkpoint = next((trial.directory / "checkpoints").iterdir())
    assert (checkpoint / "manifest.json").is_file()
