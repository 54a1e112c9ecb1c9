"""validate: every fault of a file at once, located; nothing started, nothing written."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from det_files import validate
from det_files.deepspeed_config import merge
from det_files.experiment import load_experiment, to_yaml
from det_files.faults import ConfigError
from det_files.validate import check_context, check_experiment, context_bytes, experiment_files

ROOT = Path(__file__).resolve().parent.parent
GOOD: dict[str, Any] = {
    "name": "good",
    "searcher": {"name": "single", "metric": "eval_loss"},
    "entrypoint": "python -m determined.launch.deepspeed python -m det_files.run_clm",
    "hyperparameters": {
        "deepspeed_config": "ds_configs/ds_config_stage_3.json",
        "model_arguments": {"model_name_or_path": "m"},
        "data_arguments": {"sources": [{"path": "data/quickstart"}]},
        "training_arguments": {"max_steps": 10, "eval_strategy": "steps"},
    },
}


def write(directory: Path, changes: dict[str, Any] | None = None, name: str = "e.yaml") -> Path:
    path = directory / name
    path.write_text(to_yaml(merge(GOOD, changes or {})))
    return path


def faults_of(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_experiment(load_experiment(path, overrides), context=ROOT)
    return [str(fault) for fault in caught.value.faults]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "det_files.validate", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)


def files_below(*directories: Path) -> set[Path]:
    return {path for directory in directories for path in directory.rglob("*")}


def test_many_mistakes_are_all_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ds_config = {
        "zero_optimization": {"stage": 3, "overlap_com": True},
        "train_batch_size": 64,
        "fp16": {"enabled": True},
    }
    (tmp_path / "ds.json").write_text(json.dumps(ds_config))
    path = write(
        tmp_path,
        {
            "max_restart": 1,
            "resources": {"slots_per_trial": 0},
            "searcher": {"metric": "eval_los", "max_length": {"batches": 100}},
            "hyperparameters": {
                "deepspeed_config": {
                    "type": "categorical",
                    "vals": [str(tmp_path / "ds.json"), "ds_configs/ds_config_stage_33.json"],
                },
                "model_arguments": {"gguf_file": "q4.gguf"},
                "data_arguments": {
                    "sources": [{"path": "a", "weight": {"type": "int"}}, {"pth": "b"}],
                    "input_format": "Question:",
                },
                "training_arguments": {
                    "lerning_rate": 1e-5,
                    "weight_decay": "much",
                    "gradient_accumulation_steps": 2,
                    "lr_scheduler_kwargs": {"type": "doubl"},
                    "fp16": True,
                    "output_dir": str(tmp_path / "file" / "out"),
                },
            },
        },
    )
    before = files_below(tmp_path)
    done = command(path)
    assert (done.returncode, done.stderr) == (2, "")
    head, *faults = done.stdout.splitlines()
    assert head == f"ConfigError: {len(faults)} faults in {path}"
    p = "hyperparameters"
    for start, word in {
        "max_restart: ": '"max_restarts"',
        "resources.slots_per_trial: ": ">= 1, got 0",
        "searcher.metric: ": '"eval_loss"',
        "searcher.max_length.batches: ": "100 disagrees with training_arguments.max_steps (10)",
        f"{p}.deepspeed_config: ds_configs/ds_config_stage_33.json: ": "ds_config_stage_3.json",
        f"{p}.deepspeed_config.zero_optimization.overlap_com: ": '"overlap_comm"',
        f"{p}.deepspeed_config.train_batch_size: ": "64 disagrees with",
        f"{p}.deepspeed_config.fp16.enabled: ": "true disagrees with model_arguments.dtype",
        f"{p}.model_arguments.gguf_file: ": "convert it once: python -m det_files.gguf_conversion",
        f"{p}.data_arguments.sources[0].weight: ": "a hyperparameter inside a list",
        f"{p}.data_arguments.sources[1].pth: ": '"path"',
        f"{p}.data_arguments.input_format: ": "__input__",
        f"{p}.training_arguments.lerning_rate: ": '"learning_rate"',
        f"{p}.training_arguments.weight_decay: ": 'expected float, got "much"',
        f"{p}.training_arguments.lr_scheduler_kwargs.type: ": '"double"',
        f"{p}.training_arguments.fp16: ": "the single source of precision",
        f"{p}.training_arguments.output_dir: ": f"{tmp_path / 'file'} is no directory",
    }.items():
        assert any(f.startswith(f"  {start}") and word in f for f in faults), start
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("searcher.name=adaptive_asher", "searcher.name: expected one of single, "),
        (
            "hyperparameters.overwrite_deepspeed_args.train_batch_size=64",
            "hyperparameters.deepspeed_config.train_batch_size: 64 disagrees with "
            "per_device_train_batch_size x gradient_accumulation_steps x slots = 1 x 1 x 1 = 1",
        ),
        (
            "hyperparameters.data_arguments.sources=[{path: a, weight: 1}, {path: b}]",
            'hyperparameters.data_arguments.sources[1].weight: missing: "b" has no weight',
        ),
        (
            "hyperparameters.data_arguments.sources=[{path: a, dataset_name: b}]",
            "hyperparameters.data_arguments.sources[0]: expected either path or dataset_name",
        ),
        (
            "hyperparameters.data_arguments.output_format=Answer",
            "hyperparameters.data_arguments.output_format: the template lacks its placeholder",
        ),
        (
            "searcher={name: random, metric: eval_los, max_trials: 2}",
            "searcher.metric: eval_los is not among",
        ),
        (
            "hyperparameters.training_arguments.bf16=false",
            "hyperparameters.training_arguments.bf16: false disagrees with "
            "model_arguments.dtype bfloat16",
        ),
    ],
)
def test_single_mistakes(tmp_path: Path, override: str, start: str) -> None:
    (fault,) = faults_of(write(tmp_path), override)
    assert fault.startswith(start)


def test_the_slots_checked_are_those_asked_for(tmp_path: Path) -> None:
    change = {"hyperparameters": {"overwrite_deepspeed_args": {"train_batch_size": 2}}}
    experiment = load_experiment(write(tmp_path, change))
    assert check_experiment(experiment, slots=2, context=ROOT).facts.slots == 2
    for slots in (1, 0):
        with pytest.raises(ConfigError):
            check_experiment(experiment, slots=slots, context=ROOT)


def test_relative_paths_are_those_of_the_context(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    path = write(tmp_path, {"hyperparameters": {"training_arguments": {"output_dir": "out"}}})
    with pytest.raises(ConfigError) as caught:
        check_experiment(load_experiment(path), context=tmp_path)
    output, missing = (str(fault) for fault in caught.value.faults)
    assert output.endswith(f"output_dir: out: {tmp_path / 'out'} is no directory")
    assert "ds_config_stage_3.json: No such file" in missing


OLD_FLAGS = {
    "--dataset_name": "data_arguments.sources[0].dataset_name",
    "--dataset_config_name": "data_arguments.sources[0].dataset_config",
    "--use_lora": "tuning_arguments.method (use_lora true is lora)",
    "--torch_dtype": "model_arguments.dtype",
    "--evaluation_strategy": "training_arguments.eval_strategy",
    "--deepspeed": "deepspeed_config",
}


def test_the_predecessors_experiment_is_good_with_one_warning_for_each_old_flag(
    shared: Path,
) -> None:
    experiment = load_experiment(shared / "legacy" / "swallow_70b_ds3.yaml")
    args = check_experiment(experiment, context=ROOT)
    assert experiment.warnings == [
        "entrypoint: `python run_clm.py` is now `python -m det_files.run_clm`",
        *(f"{old} is now {new}" for old, new in OLD_FLAGS.items()),
    ]
    assert (args.model.dtype, args.tuning.method, args.stage) == ("float16", "lora", 3)
    assert args.data.sources[0].dataset_name == "camel-ai/math"
    wanted = {"learning_rate": 1e-5, "max_steps": 100, "eval_steps": 10, "fp16": True, "seed": 1337}
    assert args.training.items() >= wanted.items()


@pytest.mark.parametrize(
    ("training", "max_restarts", "warning"),
    [
        ({"per_device_train_batch_size": 2}, 1, None),
        (
            {"per_device_train_batch_size": 2},
            0,
            "a cluster starts no trial again with max_restarts: 0, and none backs off there",
        ),
        ({}, 1, "per_device_train_batch_size is 1 already"),
        (
            {"per_device_eval_batch_size": 4},
            1,
            "per_device_train_batch_size is 1 already; only evaluation can back off",
        ),
    ],
)
def test_a_back_off_that_cannot_come_is_warned_of(
    training: dict[str, int], max_restarts: int, warning: str | None, tmp_path: Path
) -> None:
    changes = {
        "max_restarts": max_restarts,
        "hyperparameters": {"training_arguments": training | {"oom_backoff": True}},
    }
    experiment = load_experiment(write(tmp_path, changes))
    check_experiment(experiment, context=ROOT)
    where = "hyperparameters.training_arguments.oom_backoff"
    assert experiment.warnings == ([f"{where}: {warning}"] if warning else [])


def test_the_predecessors_deepspeed_file_is_refused_where_it_is_named(
    tmp_path: Path, shared: Path
) -> None:
    broken = shared / "legacy" / "ds_config_stage_3.json"
    assert faults_of(write(tmp_path), f"hyperparameters.deepspeed_config={broken}") == [
        f"hyperparameters.deepspeed_config: {broken}, line 17, column 6: Expecting ',' delimiter"
    ]


def test_the_command_on_good_and_bad_files_and_directories(
    tmp_path: Path,
) -> None:
    offload = {"hyperparameters": {"deepspeed_config": "ds_configs/ds_config_stage_3_nvme.json"}}
    good, nvme = write(tmp_path), write(tmp_path, offload, "nvme.yaml")
    before = files_below(tmp_path, ROOT / "ds_configs")
    done = command(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, note = done.stdout.splitlines()
    assert (first, second) == (f"{good}: ok", f"{nvme}: ok")
    assert note.startswith("  note: NVMe offload needs a local NVMe drive writable at /local_nvme")

    (tmp_path / "bad.yaml").write_text("name: a\n  b: [1\n")
    done = command(tmp_path, tmp_path / "absent.yaml")
    assert (done.returncode, done.stderr) == (2, "")
    assert f"ConfigError: {tmp_path / 'bad.yaml'}, line 2, column 4: " in done.stdout
    assert f"{good}: ok" in done.stdout
    assert f"ConfigError: {tmp_path / 'absent.yaml'}: No such file" in done.stdout
    assert files_below(tmp_path, ROOT / "ds_configs") == before | {tmp_path / "bad.yaml"}


def test_a_directory_without_experiments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*\.yaml in this directory"):
        experiment_files([tmp_path])
    one, two = write(tmp_path, name="b.yaml"), write(tmp_path, name="a.yaml")
    assert experiment_files([tmp_path, one]) == [two, one, one]


def sparse(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size)


def test_the_context_has_what_determined_would_send(tmp_path: Path) -> None:
    from determined.common.context import read_v1_context
    from determined.common.v1file_utils import v1File_size

    # Multiples of 3, which Determined's own count rounds up to.
    files = {
        "a.py": 30,
        "deep/b.py": 60,
        "models/w": 300,
        "deep/models/w": 600,
        "runs": 900,
        "x/__pycache__/c": 33,
        "c.pyc": 36,
        "keep.log": 3,
        "drop.log": 6,
    }
    for name, size in files.items():
        sparse(tmp_path / name, size)
    (tmp_path / ".detignore").write_text("# comment\n/models/\nruns/\n*.log\n!keep.log\n")
    (tmp_path / "link").symlink_to(tmp_path / "a.py")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    sent = sum(v1File_size(file) for file in read_v1_context(tmp_path))
    assert context_bytes(tmp_path) == sent == 30 + 60 + 600 + 900 + 3 + 30


@pytest.mark.parametrize(("extra", "right"), [(0, True), (1, False)])
def test_a_context_over_the_limit_is_refused(tmp_path: Path, extra: int, right: bool) -> None:
    from determined.common.constants import MAX_CONTEXT_SIZE

    assert validate.CONTEXT_LIMIT_BYTES == MAX_CONTEXT_SIZE
    sparse(tmp_path / "weights", MAX_CONTEXT_SIZE + extra)
    if right:
        check_context(tmp_path)
        return
    with pytest.raises(ConfigError, match=r"the context has 95 MiB .* in \.detignore"):
        check_context(tmp_path)
    (tmp_path / ".detignore").write_text("weights\n")
    check_context(tmp_path)


def test_the_command_refuses_a_context_over_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "CONTEXT_LIMIT_BYTES", 10)
    path = write(tmp_path)
    with pytest.raises(ConfigError, match=r"name what a trial does not need in \.detignore"):
        validate.main([str(path), "--context", str(tmp_path)])
