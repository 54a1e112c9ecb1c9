"""Runs that nothing disturbs: what is asked of the master, in order, and the same losses always."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.lives.conftest import DEEPSPEED, TORCH, MakeExperiment, MakeLife
from cluster.standin.life import Life
from cluster.standin.master import OPERATIONS
from conftest import ROOT
from det_files.cluster.manifest import MANIFEST_FILE, damage


def test_a_fresh_run(life: Life, experiment: MakeExperiment, losses: dict[int, float]) -> None:
    """The whole chain: the checkout as the context, its hook, and a launcher."""
    life.create(experiment(entrypoint=TORCH), context=ROOT)
    life.wait_for_end()
    assert life.trial.codes == [0] and life.trial.state == "COMPLETED"
    done = ["operation completed"] if OPERATIONS else []
    # The checkpoint comes before what may end the trial.
    assert life.decisions() == ["start", "checkpoint 2", "checkpoint 4", "checkpoint 6", *done]
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.reports("validation") == [2, 4, 6]
    assert life.losses() == losses
    assert life.trial.progress[-1] == (6 if OPERATIONS else 1.0)
    # In the order of a container's life, before the first metrics.
    first = [re.sub(r"[\d.a-f-]{36,}|\d+", "#", path) for path in life.paths()]
    assert first[: first.index("/api/v#/trials/#/metrics")][3:] == [
        "/api/v#/tasks/#/context_directory",
        "/api/v#/allocations/#/acceleratorData",
        "/api/v#/allocations/#/resources/#/rendezvous",
        "/api/v#/runs/start",
        *(["/api/v#/trials/#/searcher/operation"] if OPERATIONS else []),
    ]


def test_what_is_uploaded(life: Life, experiment: MakeExperiment) -> None:
    variables = ["GIT_COMMIT=0123abc"]
    config = experiment(
        environment={"environment_variables": variables},
        training_arguments__save_total_limit=1,
        training_arguments__output_dir=str(life.directory / "staging"),
    )
    # Where checkpoints are staged is seen while the last one is reported.
    staged: list[list[str]] = []

    def look(body: Any) -> None:
        found = (life.directory / "staging").glob("*/checkpoint-*")
        staged.append(sorted(path.name for path in found))

    life.on("POST", "/api/v1/checkpoints", times=3, before=look)
    life.create(config)
    life.wait_for_end()
    # The Trainer has written the new one and removed the one before it.
    assert staged == [["checkpoint-2"], ["checkpoint-4"], ["checkpoint-6"]]
    assert list((life.directory / "staging").iterdir()) == []
    for steps, checkpoint in zip((2, 4, 6), life.trial.checkpoints, strict=True):
        files, metadata = life.files(checkpoint), checkpoint["metadata"]
        assert damage(files) == []
        names = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
        assert names == set(checkpoint["resources"]) | {"metadata.json"}
        assert {"model.safetensors", "optimizer.pt", "trainer_state.json", MANIFEST_FILE} <= names
        assert not any(name.startswith(("runs/", "checkpoint-")) for name in names)
        assert metadata["steps_completed"] == steps
        assert metadata["epoch"] == pytest.approx(steps / 10)
        assert metadata["git_commit"] == "0123abc"
        assert {"torch", "transformers", "deepspeed", "determined"} <= set(metadata["versions"])
        assert json.loads((files / "metadata.json").read_text()) == metadata
        resolved = yaml.safe_load((files / "run_args.yaml").read_text())
        assert resolved["training_arguments"]["max_steps"] == 6
    tokens = [checkpoint["metadata"]["tokens_seen"] for checkpoint in life.trial.checkpoints]
    assert 0 < tokens[0] < tokens[1] < tokens[2] < 6 * 4 * 60


def test_a_new_experiment_from_anothers_checkpoint(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    """It goes on at that step; what the other one had reported is not reported again."""
    life.create(experiment(training_arguments__max_steps=4))
    life.wait_for_end()
    last = life.trial.checkpoints[-1]["uuid"]
    searcher = {"name": "single", "metric": "eval_loss", "source_checkpoint_uuid": last}
    if OPERATIONS:
        searcher["max_length"] = {"batches": 6}
    life.create(experiment(searcher=searcher))
    life.wait_for_end()
    assert life.experiment.id == 2 and life.trial.codes == [0]
    assert sorted(life.losses()) == [5, 6]
    assert list(life.trial.rows("validation", "eval_loss")) == [6]
    assert life.saved_steps() == [6]


def test_without_evaluation(
    life: Life, experiment: MakeExperiment, losses: dict[int, float]
) -> None:
    config = experiment(
        training_arguments__eval_strategy="no", searcher={"name": "single", "metric": "loss"}
    )
    del config["hyperparameters"]["training_arguments"]["eval_steps"]
    life.create(config)
    life.wait_for_end()
    assert life.reports("validation") == []
    assert life.losses() == losses
    assert life.decisions() == ["start", "checkpoint 2", "checkpoint 4", "checkpoint 6"]


def test_epochs(life: Life, experiment: MakeExperiment) -> None:
    config = experiment(
        training_arguments__max_steps=-1,
        training_arguments__num_train_epochs=2,
        training_arguments__eval_strategy="epoch",
        training_arguments__save_strategy="epoch",
        training_arguments__logging_steps=5,
        training_arguments__per_device_train_batch_size=8,
        searcher={"name": "single", "metric": "eval_loss"}
        | ({"max_length": {"epochs": 2}} if OPERATIONS else {}),
    )
    for name in ("eval_steps", "save_steps"):
        del config["hyperparameters"]["training_arguments"][name]
    life.create(config)
    life.wait_for_end()
    assert life.reports("training") == [5, 10]
    assert life.reports("validation") == [5, 10]
    assert life.saved_steps() == [5, 10]
    assert life.trial.rows("validation", "epochs") == {5: 1.0, 10: 2.0}


OWN_TRAINER = """
import determined.core, torch, transformers
from det_files.cluster.callback import DetCallback

torch.manual_seed(0)
model = transformers.AutoModelForCausalLM.from_pretrained({model!r})
rows = [{{"input_ids": row, "labels": row}} for row in torch.arange(24).reshape(6, 4)]
with determined.core.init() as core_context:
    args = transformers.TrainingArguments(
        "out", use_cpu=True, num_train_epochs=1.5, per_device_train_batch_size=2, logging_steps=1,
        eval_strategy="steps", eval_steps=2, save_strategy="no", report_to=[], disable_tqdm=True,
    )
    callback = DetCallback(core_context, args)
    trainer = transformers.Trainer(
        model, args, train_dataset=rows, callbacks=[callback],
        eval_dataset={{"first": rows[:2], "second": rows[2:]}},
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
"""


def test_anyones_own_trainer_with_several_eval_datasets(
    life: Life, experiment: MakeExperiment, tiny_model: Path, tmp_path: Path
) -> None:
    """Neither `run_clm` nor a launcher: a script, two datasets, and 1.5 epochs of 3 steps."""
    (tmp_path / "train.py").write_text(OWN_TRAINER.format(model=str(tiny_model)))
    config = experiment(
        entrypoint="python3 train.py",
        searcher={"name": "single", "metric": "eval_first_loss"}
        | ({"max_length": {"batches": 5}} if OPERATIONS else {}),
    )
    life.create(config, "--include", str(ROOT / "det_files"), context=tmp_path)
    life.wait_for_end()
    assert life.reports("training") == [1, 2, 3, 4, 5]
    # Both datasets' metrics in one row each.
    assert life.reports("validation") == [2, 4, 5]
    first = life.trial.rows("validation", "eval_first_loss")
    second = life.trial.rows("validation", "eval_second_loss")
    assert list(first) == list(second) == [2, 4, 5]
    assert all(math.isfinite(value) for value in [*first.values(), *second.values()])


def test_two_slots_with_deepspeed(
    make_life: MakeLife, experiment: MakeExperiment, losses: dict[int, float], tiny_data: Path
) -> None:
    """A shipped experiment file, as it stands but for the model, the data and the length."""
    life = make_life(agents=[2])
    config = experiment()
    training = config["hyperparameters"]["training_arguments"] | {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
    }
    overrides = {
        "hyperparameters.model_arguments.model_name_or_path": config["hyperparameters"][
            "model_arguments"
        ]["model_name_or_path"],
        "hyperparameters.data_arguments.sources": [{"path": str(tiny_data)}],
        "hyperparameters.tuning_arguments.method": "full",
        # The launcher counts devices; without GPUs it must be told.
        "environment.environment_variables.cpu": ["LOCAL_SIZE=2"],
    }
    overrides |= {f"hyperparameters.training_arguments.{k}": v for k, v in training.items()}
    if OPERATIONS:
        overrides["searcher.max_length.batches"] = 6
    source = yaml.safe_load((ROOT / "experiments" / "smollm2_135m_ds2.yaml").read_text())
    assert source["entrypoint"] == DEEPSPEED.replace("python3", "python")
    source["environment"].pop("environment_variables")
    file = life.directory / "smollm2_135m_ds2.yaml"
    file.write_text(yaml.safe_dump(source))
    arguments = [f"{name}={json.dumps(value)}" for name, value in overrides.items()]
    overridden = [part for argument in arguments for part in ("--config", argument)]
    life.create_from(file, *overridden, context=ROOT)
    life.wait_for_end()
    assert life.trial.codes == [0]
    assert life.decisions().count("start") == 2  # one a rank
    assert life.reports("training") == [1, 2, 3, 4, 5, 6]
    assert life.losses() == pytest.approx(losses, rel=1e-5)
    for checkpoint in life.trial.checkpoints:
        names = set(checkpoint["resources"])
        assert sum("optim_states" in name for name in names) == 2  # a shard a rank
        assert damage(life.files(checkpoint)) == []


def test_a_configuration_fault_is_one_start(life: Life, experiment: MakeExperiment) -> None:
    """The log policy sees the first line, so that max_restarts does not apply."""
    config = experiment(max_restarts=2, entrypoint=TORCH)
    config["hyperparameters"]["training_arguments"]["learning_rat"] = 1e-3
    life.create(config)
    life.wait_for_end("ERROR")
    assert life.trial.codes == [1] and life.trial.runs == 1  # torchrun makes 1 of our 2
    log = "\n".join(life.trial.log)
    assert "ConfigError: " in log and "learning_rate" in log
    assert "[rank=0] Traceback" not in log  # torchrun shows one of its own
    assert life.decisions() == []  # not even core.init was reached
