"""Every experiment file: Determined's schema, our validation, its siblings, and two real steps."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from expected_warnings import WARNINGS
from schema import schema_errors

from conftest import ROOT, RunJobs, Trial, set_arguments
from det_files.args import RunArgs
from det_files.autotune.metrics import is_measured
from det_files.experiment import Experiment, load_experiment
from det_files.rungs import HALVING
from det_files.validate import check_experiment
from tiny import make_model, make_preferences

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
    "t5": "t5",
    "flan": "t5",
    "bart": "bart",
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
def test_validates_with_known_warnings_alone(path: Path) -> None:
    experiment = load(path)
    check_experiment(experiment, context=ROOT)
    assert experiment.warnings == WARNINGS.get(path.stem, [])


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


# Lines of real logs → what the policies do about them. Determined searches each line, with the
# launchers' prefixes still on it, and acts on the node whose container wrote it.
NEVER_AGAIN = (
    "ConfigError: 2 faults in experiments/x.yaml",
    "[rank=0] ConfigError: hyperparameters.data_arguments.sources[0]: the train split has no rows",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB. GPU 0 has a total "
    "capacity of 79.11 GiB of which 512.00 MiB is free.",
    "[rank=3] [rank3]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
)
ON_ANOTHER_NODE = (
    "[rank=5] torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered",
    "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "node7:412:980 [3] enqueue.cc:1402 NCCL WARN Cuda failure 214 'uncorrectable ECC error "
    "encountered'",
    "RuntimeError: CUDA error: uncorrectable NVLink error detected during the execution",
    "UserWarning: CUDA initialization: Unexpected error from cudaGetDeviceCount(). Did you run "
    "some cuda functions before calling NumCudaDevices() that might have already set an error? "
    "Error 802: system not yet initialized (Triggered internally at CUDAFunctions.cpp:109)",
    "node7:412:980 [3] NCCL WARN NET/IB : mlx5_0:1 Got async event : local catastrophic error",
    "node7:412:980 [3] NCCL WARN NET/IB : Got async event : local catastrophic error",
)
AGAIN_ANYWHERE = (
    # Failures of the program, or of nobody.
    "ValueError: expected a ConfigError",
    "except torch.OutOfMemoryError:",
    "RuntimeError: CUDA error: device-side assert triggered",
    "RuntimeError: CUDA error: an illegal memory access was encountered",
    "KeyError: 'uncorrectable ECC errors'",
    "OSError: [Errno 28] No space left on device",
    "RuntimeError: logging system not yet initialized",
    "| N/A   31C    P0    64W / 400W |      0MiB / 81920MiB |  Volatile Uncorr. ECC |    0 |",
    # Memory that another process holds, or that the host lacks: later it may be free.
    "RuntimeError: CUDA error: out of memory",
    "OSError: [Errno 12] Cannot allocate memory",
    # Said by the healthy nodes about another one, or about the network between them.
    "[rank1]:[E1007 ProcessGroupNCCL.cpp:683] Watchdog caught collective operation timeout",
    "torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network "
    "error, NCCL version 2.29.7 ncclRemoteError: A call failed possibly due to a network error",
    "node7:412:980 [3] NCCL WARN NET/IB: Got completion from peer 10.0.0.8 with status=12 opcode=0",
    "node7:412:980 [3] NCCL WARN NET/IB : mlx5_0:1 Got async event : port error",
    "node7:412:980 [3] NCCL WARN NET/IB : mlx5_0:1 Got async event : client reregistration",
    "[ERROR] [launch.py:325:sigkill_handler] ['python', '-m', 'det_files.run_clm'] exits with "
    "return code = 1",
)


def patterns(path: Path, action: str) -> list[str]:
    policies = load(path).config["log_policies"]
    return [policy["pattern"] for policy in policies if policy["action"] == {"type": action}]


def found(patterns: list[str], line: str) -> bool:
    return any(re.search(pattern, line) for pattern in patterns)


@by_file
def test_what_cannot_succeed_is_not_retried(path: Path) -> None:
    final = patterns(path, "cancel_retries")
    assert [line for line in NEVER_AGAIN if not found(final, line)] == []
    assert [line for line in ON_ANOTHER_NODE + AGAIN_ANYWHERE if found(final, line)] == []


@by_file
def test_a_node_is_excluded_for_its_hardware_alone(path: Path) -> None:
    excluding = patterns(path, "exclude_node")
    size = re.search(r"_(\d+)b_", path.stem)
    # From 7B up a trial is long and its nodes are many; the SmolLM2 files count in millions.
    if size is None or int(size[1]) < 7:
        assert excluding == []
        return
    assert [line for line in ON_ANOTHER_NODE if not found(excluding, line)] == []
    assert [line for line in NEVER_AGAIN + AGAIN_ANYWHERE if found(excluding, line)] == []


@by_file
def test_log_policies_can_be_matched_by_the_master(path: Path) -> None:
    """In Go's syntax, without a name (0.37 knows none), and not found in the file itself.

    DeepSpeed's launcher logs the whole configuration, as JSON in the environment.
    """
    policies = load(path).config["log_policies"]
    assert all(policy.keys() == {"pattern", "action"} for policy in policies)
    every = [policy["pattern"] for policy in policies]
    assert len(set(every)) == len(every)
    assert not any(re.search(r"\(\?(?!:)|\\[1-9]|[*+?]\+", pattern) for pattern in every)
    rest = [pattern for pattern in every if pattern != "ConfigError: "]
    assert not found(rest, json.dumps(policies)) and not found(rest, path.read_text())


@by_file
def test_determined_can_install_its_client_in_the_image(path: Path) -> None:
    """Before the startup hook, with pip, which the image's Python refuses otherwise (PEP 668)."""
    variables = load(path).config["environment"]["environment_variables"]
    assert "PIP_BREAK_SYSTEM_PACKAGES=1" in variables
    # Faults of the network cards are told by NCCL's warnings.
    assert "NCCL_DEBUG=WARN" in variables


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
    preferences = {
        method: make_preferences(directory / form, form, train=40)
        for method, form in (
            ("dpo", "pairs"),
            ("orpo", "pairs"),
            ("reward", "pairs"),
            ("kto", "marked"),
        )
    }
    jobs: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for path in FILES:
        preference = load(path).hyperparameters.get("preference_arguments")
        method = preference["method"] if preference else None
        overrides = {
            "model_arguments__model_name_or_path": str(models[ARCHITECTURE[family_of(path)]]),
            "data_arguments__sources": [{"path": str(preferences.get(method, tiny_data))}],
            "training_arguments__max_steps": 2,
            "training_arguments__eval_steps": 2,
            "training_arguments__save_steps": 2,
        }
        if is_measured(load(path).searcher):
            # Two steps are too few to be warm behind some of them.
            overrides["measuring_arguments__warmup_steps"] = 0
            overrides["training_arguments__save_strategy"] = "steps"
        if load(path).hyperparameters["data_arguments"].get("mixture_weights"):
            overrides["data_arguments__mixture_weights"] = {}
        for task in load(path).hyperparameters.get("eval_tasks", {}):
            # The tiny data's answers have no numbers.
            overrides[f"eval_tasks__{task}"] = {"metrics": ["exact_match"], "max_new_tokens": 8}
        if method == "grpo":
            overrides["preference_arguments__max_completion_length"] = 8
        arguments = ["--experiment", str(path), *set_arguments(overrides)]
        # Two steps are too few for any rung; a draw of what is searched is trained all the same.
        arguments += ["--set", "searcher={name: single, metric: eval_loss}"] * is_halving(path)
        jobs[load(path).module][path.stem] = arguments
    found: dict[str, Trial] = {}
    for module, some in jobs.items():
        found |= run_jobs(directory, 2, some, module)
    return found


def is_halving(path: Path) -> bool:
    return load(path).searcher["name"] in HALVING


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
