"""RunArgs: hyperparameters over flags, ranges checked and drawn, nothing given changed."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from det_files.args import RunArgs, RunFacts
from det_files.deepspeed_config import merge
from det_files.experiment import parse_yaml, to_yaml
from det_files.faults import ConfigError, Faults
from det_files.models import CAUSAL, SEQ2SEQ
from det_files.resolution import resolve

ROOT = Path(__file__).resolve().parent.parent
BASE = {
    "model_arguments": {"model_name_or_path": "m"},
    "data_arguments": {"sources": [{"path": "data/quickstart"}]},
}
STAGE_3 = {"deepspeed_config": "ds_configs/ds_config_stage_3.json"}
AUTO = {"enabled": "auto"}


def resolved(
    changes: dict[str, Any], *flags: str, facts: RunFacts | None = None
) -> tuple[RunArgs | None, list[str], list[str]]:
    """Arguments, faults and warnings of BASE with `changes` merged in."""
    faults, warnings = Faults(), list[str]()
    given = merge(BASE, changes)
    kept = copy.deepcopy((given, flags))
    args = resolve(given, flags, facts or RunFacts(), ROOT, faults, warnings)
    assert (given, flags) == kept, "the input was changed"
    return args, [str(fault) for fault in faults.found], warnings


def good(changes: dict[str, Any], *flags: str, facts: RunFacts | None = None) -> RunArgs:
    args, faults, _ = resolved(changes, *flags, facts=facts)
    assert faults == [] and args is not None
    return args


def faults_of(changes: dict[str, Any], *flags: str, facts: RunFacts | None = None) -> list[str]:
    args, faults, _ = resolved(changes, *flags, facts=facts)
    assert args is None
    return [fault.removeprefix("hyperparameters.") for fault in faults]


def test_hyperparameters_win_over_flags() -> None:
    flags = ["--learning_rate=1e-3", "--max_steps", "7", "--dtype=float16", "--use_lora"]
    args = good(
        {"training_arguments": {"learning_rate": 1e-5}, "model_arguments": {"dtype": "float32"}},
        *flags,
    )
    assert (args.training["learning_rate"], args.training["max_steps"]) == (1e-5, 7)
    assert (args.model.dtype, args.tuning.method) == ("float32", "lora")


def test_an_empty_section_hides_no_flag() -> None:
    assert good({"training_arguments": None}, "--max_steps", "7").training["max_steps"] == 7


def test_old_names_in_both_places_warn_once_each() -> None:
    changes = {
        "training_arguments": {"evaluation_strategy": "no"},
        "data_arguments": {"dataset_config_name": "c", "sources": [{"dataset_name": "d"}]},
    }
    args, faults, warnings = resolved(changes, "--torch_dtype", "float16")
    assert args is not None and faults == []
    assert (args.training["eval_strategy"], args.model.dtype) == ("no", "float16")
    assert args.data.sources[0].dataset_config == "c"
    assert len(warnings) == 3


def test_the_resolved_dict_says_what_was_resolved() -> None:
    facts = RunFacts(name="n", slots=2, seed=9)
    args = good(
        STAGE_3
        | {
            "overwrite_deepspeed_args": {"zero_optimization": {"overlap_comm": False}},
            "training_arguments": {"eval_steps": 10, "max_steps": 20},
        },
        facts=facts,
    )
    found = args.to_dict()
    assert (found["name"], found["slots"]) == ("n", 2)
    assert found["model_arguments"]["dtype"] == "bfloat16"
    assert found["data_arguments"]["sources"][0]["path"] == "data/quickstart"
    assert found["tuning_arguments"]["method"] == "full"
    training = {"eval_strategy": "steps", "save_steps": 10, "bf16": True, "fp16": False, "seed": 42}
    assert found["training_arguments"].items() >= training.items()
    assert found["deepspeed"]["zero_optimization"]["stage"] == 3
    assert found["deepspeed"]["zero_optimization"]["overlap_comm"] is False
    assert found["deepspeed"]["train_batch_size"] == "auto"
    assert parse_yaml(to_yaml(found), "x") == found  # as it is written beside a checkpoint
    assert args.stage == 3


def test_the_experiments_seed_does_not_seed_training() -> None:
    """The master makes one up where a file has none; a local run would then differ."""
    assert good({}, facts=RunFacts(seed=9)).training["seed"] == 42
    args = good({"training_arguments": {"seed": 1}}, facts=RunFacts(seed=9))
    assert args.training["seed"] == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("method", "deepspeed", "master"),
    [("full", False, True), ("full", True, False), ("lora", False, False), ("lora", True, False)],
)
def test_load_dtype(dtype: str, method: str, deepspeed: bool, master: bool) -> None:
    changes = {"model_arguments": {"dtype": dtype}, "tuning_arguments": {"method": method}}
    args = good(changes | (STAGE_3 if deepspeed else {}))
    assert args.load_dtype == ("float32" if master else dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("said", ["bf16", "fp16", None])
@pytest.mark.parametrize("enabled", ["bf16", "fp16", None])
def test_one_source_of_precision(dtype: str, said: str | None, enabled: str | None) -> None:
    right = {"float16": "fp16", "bfloat16": "bf16"}.get(dtype)
    changes: dict[str, Any] = STAGE_3 | {"model_arguments": {"dtype": dtype}}
    if said:
        changes["training_arguments"] = {said: True}
    if enabled:
        changes["overwrite_deepspeed_args"] = {enabled: {"enabled": True}}
    expected = [f"training_arguments.{said}"] if said not in (None, right) else []
    expected += [f"deepspeed_config.{enabled}.enabled"] if enabled not in (None, right) else []
    if expected:
        assert [fault.split(":")[0] for fault in faults_of(changes)] == expected
    else:
        args = good(changes)
        assert (args.training["bf16"], args.training["fp16"]) == (right == "bf16", right == "fp16")
        assert args.deepspeed is not None
        assert args.deepspeed["bf16"] == ({"enabled": True} if enabled == "bf16" else AUTO)


LOG = {"type": "log", "base": 10, "minval": -6, "maxval": -4}


def test_ranges_are_checked_at_their_ends_and_one_draw_is_resolved() -> None:
    changes = {
        "training_arguments": {"learning_rate": LOG},
        "tuning_arguments": {"method": "lora", "r": {"type": "int", "minval": 4, "maxval": 8}},
        "deepspeed_config": {
            "type": "categorical",
            "vals": [f"ds_configs/ds_config_stage_{stage}.json" for stage in (1, 2, 3)],
        },
    }
    draws = [good(changes, facts=RunFacts(seed=seed)) for seed in range(20)]
    assert all(1e-6 <= args.training["learning_rate"] <= 1e-4 for args in draws)
    assert {args.tuning.r for args in draws} == {4, 5, 6, 7, 8}
    assert {args.stage for args in draws} == {1, 2, 3}
    assert draws[3] == good(changes, facts=RunFacts(seed=3))
    assert draws[3].hyperparameters["tuning_arguments"]["r"] == draws[3].tuning.r


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"modell_arguments": {}},
            'modell_arguments: unknown key; did you mean "model_arguments"?',
        ),
        ({"model_arguments": 5}, "model_arguments: expected a mapping, got 5"),
        (
            {"tuning_arguments": {"type": "const", "val": {"method": "lora"}}},
            "tuning_arguments: expected a mapping; hyperparameters stand for single arguments in "
            "it, not for all",
        ),
        (
            {"model_arguments": {"config_name_or_path": "c"}},
            "model_arguments.config_name_or_path: give either this or model_name_or_path",
        ),
        (
            {"model_arguments": {"model_name_or_path": None}},
            "model_arguments.model_name_or_path: missing: name a model (or config_name_or_path)",
        ),
        (
            {"overwrite_deepspeed_args": {"zero_optimization": {}}},
            "overwrite_deepspeed_args: needs a deepspeed_config",
        ),
        (
            {"deepspeed_config": None, "overwrite_deepspeed_args": {"zero_optimization": {}}},
            "overwrite_deepspeed_args: needs a deepspeed_config",
        ),
        (
            STAGE_3 | {"overwrite_deepspeed_args": {"type": "categorical", "vals": [{}, 1]}},
            "overwrite_deepspeed_args.vals[1]: expected a mapping, got 1",
        ),
        ({"deepspeed_config": 3}, "deepspeed_config: expected the path of a JSON file, got 3"),
        ({"model_arguments": {"dtype": ["x"]}}, "model_arguments.dtype: expected one of bfloat16, "
         'float16, float32, got ["x"]'),
        ({"training_arguments": {"learning_rate": {"type": "log", "base": 10, "minval": -6}}},
         "training_arguments.learning_rate.maxval: missing; type log needs it"),
    ],
)  # fmt: skip
def test_faults(changes: dict[str, Any], fault: str) -> None:
    if changes.get("model_arguments") == 5:
        assert fault in faults_of(changes)  # and the model is missing
    else:
        assert faults_of(changes) == [fault]


def test_every_deepspeed_file_of_a_search_is_checked() -> None:
    vals = ["ds_configs/ds_config_stage_2.json", "ds_configs/absent.json", 7]
    first, second = faults_of({"deepspeed_config": {"type": "categorical", "vals": vals}})
    assert first.startswith("deepspeed_config: ds_configs/absent.json: No such file")
    assert second == "deepspeed_config.vals[2]: expected the path of a JSON file, got 7"


def test_a_literal_with_a_type_reaches_deepspeed() -> None:
    scheduler = {"type": "WarmupLR", "params": {"warmup_num_steps": "auto"}}
    constant = {"scheduler": {"type": "const", "val": scheduler}}
    args = good(STAGE_3 | {"overwrite_deepspeed_args": constant})
    assert args.deepspeed is not None and args.deepspeed["scheduler"] == scheduler


@pytest.mark.parametrize("said", [None, 4])
def test_batch_sizes_of_the_overwrite_are_those_of_training(said: int | None) -> None:
    """As a search writes them, over a file made for training."""
    sizes = {"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 3}
    changes = STAGE_3 | {"overwrite_deepspeed_args": sizes | {"train_batch_size": 12}}
    if said is not None:
        changes["training_arguments"] = {"per_device_train_batch_size": said}
    args, faults, warnings = resolved(changes, facts=RunFacts(slots=2))
    assert args is not None and faults == []
    assert args.training["per_device_train_batch_size"] == 2
    assert args.training["per_device_eval_batch_size"] == 2
    assert args.training["gradient_accumulation_steps"] == 3
    assert warnings == (
        []
        if said is None
        else [
            "hyperparameters.training_arguments.per_device_train_batch_size: "
            "2 of overwrite_deepspeed_args holds, not 4"
        ]
    )
    _, faults, _ = resolved(changes, facts=RunFacts(slots=3))
    (fault,) = faults
    assert "train_batch_size: 12 disagrees with " in fault and "2 x 3 x 3 = 18" in fault


# As `determined.pytorch.dsat` 0.37 sends them, of the profile and of a trial.
DSAT_PROFILE = {
    "autotuning": {
        "enabled": True, "start_profile_step": 3, "end_profile_step": 5,
        "model_info_path": "model_info.json", "model_info": {"profile": True},
    },
    "train_micro_batch_size_per_gpu": 1, "train_batch_size": 1, "gradient_accumulation_steps": 1,
}  # fmt: skip
DSAT_TRIAL = {
    "autotuning": {"enabled": True, "start_profile_step": 3, "end_profile_step": 5},
    "zero_optimization": {
        "reduce_bucket_size": 5000000000, "allgather_bucket_size": 1000000, "overlap_comm": True,
        "reduce_scatter": False, "contiguous_gradients": True, "allgather_partitions": False,
        "stage": 3,
    },
    "train_micro_batch_size_per_gpu": 7, "train_batch_size": 7, "gradient_accumulation_steps": 1,
}  # fmt: skip


@pytest.mark.parametrize("overwrite", [DSAT_PROFILE, DSAT_TRIAL])
def test_a_trial_of_determineds_autotune(overwrite: dict[str, Any]) -> None:
    changes = STAGE_3 | {"overwrite_deepspeed_args": overwrite, "_use_dsat_mode": True}
    searcher = {"name": "custom", "metric": "FLOPS_per_gpu", "smaller_is_better": False}
    args = good(changes, facts=RunFacts(searcher=searcher))
    assert args.deepspeed is not None
    assert merge(args.deepspeed, overwrite) == args.deepspeed  # it is all in there
    micro = overwrite["train_micro_batch_size_per_gpu"]
    assert args.training["per_device_train_batch_size"] == micro
    # Without its mark the searcher is one that nobody knows.
    del changes["_use_dsat_mode"]
    _, faults, _ = resolved(changes, facts=RunFacts(searcher=searcher))
    assert any(fault.startswith("searcher.name: ") for fault in faults)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"tuning_arguments": {"method": "lora"}}, []),
        ({}, ["full tuning"]),
        (STAGE_3 | {"tuning_arguments": {"method": "lora"}}, ["ZeRO stage 3"]),
        (STAGE_3, ["ZeRO stage 3", "full tuning"]),
    ],
)
def test_gguf_is_refused_with_the_command_that_converts_it(
    changes: dict[str, Any], reasons: list[str]
) -> None:
    changes = changes | {"model_arguments": {"gguf_file": "q4.gguf"}}
    command = "python -m det_files.gguf_conversion m/q4.gguf --output models/q4"
    assert resolved(changes)[1] == [
        "hyperparameters.model_arguments.gguf_file: a GGUF file cannot be used with "
        f"{reason}; convert it once: {command}"
        for reason in reasons
    ]


@pytest.mark.parametrize("counted", [True, False])
def test_a_grid_needs_counts(counted: bool) -> None:
    rate = LOG | ({"count": 3} if counted else {})
    facts = RunFacts(searcher={"name": "grid", "metric": "eval_loss"})
    found = resolved({"training_arguments": {"learning_rate": rate}}, facts=facts)[1]
    path = "hyperparameters.training_arguments.learning_rate.count"
    assert found == ([] if counted else [f"{path}: missing; a grid search needs it"])


def from_cli(*argv: str) -> RunArgs:
    return RunArgs.from_cluster_or_cli(argv)


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def experiment(directory: Path, **changes: Any) -> str:
    config = {
        "name": "n",
        "searcher": {"name": "single", "metric": "eval_loss"},
        "entrypoint": "python run_clm.py --max_steps 7 --learning_rate 1",
        "reproducibility": {"experiment_seed": 3},
        "hyperparameters": merge(BASE, {"training_arguments": {"learning_rate": LOG}}),
    }
    (directory / "e.yaml").write_text(to_yaml(merge(config, changes)))
    return str(directory / "e.yaml")


def test_from_an_experiment_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    setting = "hyperparameters.training_arguments.eval_steps=5"
    argv = ["--experiment", experiment(tmp_path), "--set", setting, "--trial_dir", "t"]
    args = from_cli(*argv, "--max_steps", "8")
    assert (args.facts.name, args.facts.slots, args.facts.trial_dir) == ("n", 2, Path("t"))
    wanted = {"max_steps": 8, "eval_steps": 5, "seed": 42}
    assert args.training.items() >= wanted.items()
    assert 1e-6 <= args.training["learning_rate"] <= 1e-4
    assert args == from_cli(*argv, "--max_steps", "8")
    assert capsys.readouterr().err == ""


def test_warnings_come_from_the_first_rank_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model_name_or_path", "m", "--sources", json.dumps([{"path": "p"}]), "--use_lora"]
    for rank, count in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        assert from_cli(*flags).tuning.method == "lora"
        assert capsys.readouterr().err.count("warning: --use_lora is now ") == count


def test_malformed_ranges_of_a_file_are_faults_there_too(tmp_path: Path) -> None:
    rate = {"learning_rate": {"type": "log", "minval": "x"}, "stepz": 1}
    hyperparameters = {"training_arguments": rate}
    with pytest.raises(ConfigError) as caught:
        from_cli("--experiment", experiment(tmp_path, hyperparameters=hyperparameters))
    assert len(caught.value.faults) == 2  # base and maxval are there; minval and stepz are wrong


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("searcher.metric=x", "--set searcher: without --experiment only hyperparameters can be "
         "set"),
        ("hyperparameters=5", "--set hyperparameters: expected a mapping, got 5"),
        ("=5", "--set =5: expected dotted.path=value"),
    ],
)  # fmt: skip
def test_settings_without_a_file(setting: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_cli("--set", setting)
    assert [str(found) for found in caught.value.faults] == [fault]


def test_on_a_cluster_literals_stay_literals(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the master has drawn already; `{type: …}` in what it hands over is a value."""
    from det_files.cluster import trial

    scheduler = {"type": "WarmupLR", "params": {}}
    drawn = merge(BASE, STAGE_3 | {"overwrite_deepspeed_args": {"scheduler": scheduler}})
    searcher = {"name": "single", "metric": "eval_loss"}
    given = trial.ClusterTrial(drawn, {"name": "n", "searcher": searcher}, None, 1, 1)
    monkeypatch.setattr(trial, "cluster_trial", lambda: given)
    args = from_cli("--max_steps", "3")
    assert args.deepspeed is not None and args.deepspeed["scheduler"] == scheduler
    assert (args.facts.name, args.training["max_steps"]) == ("n", 3)


@pytest.mark.parametrize(
    ("kind", "module", "what"),
    [
        (CAUSAL, "det_files.run_clm", "a causal language model"),
        (SEQ2SEQ, "det_files.run_seq2seq", "an encoder-decoder model"),
    ],
)
def test_help_is_that_of_the_entrypoint(
    kind: str, module: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        RunArgs.from_cluster_or_cli(["--help"], kind)
    shown = capsys.readouterr().out
    assert f"usage: python -m {module} " in shown
    assert f"Fine-tunes {what}." in " ".join(shown.split())
