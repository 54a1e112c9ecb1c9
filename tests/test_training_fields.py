"""Fields read from transformers' source agree with the dataclass that Python makes of it."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from det_files.training_fields import OWN, training_fields, transformers_version

ROOT = Path(__file__).resolve().parent.parent


def test_fields_agree_with_transformers() -> None:
    import transformers
    from transformers import TrainingArguments, trainer_utils, training_args

    fields = training_fields()
    theirs = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(fields) - set(OWN) == theirs
    assert not set(OWN) & theirs  # a field of theirs must not get another meaning
    enums = {
        "eval_strategy": trainer_utils.IntervalStrategy,
        "logging_strategy": trainer_utils.IntervalStrategy,
        "save_strategy": trainer_utils.SaveStrategy,
        "lr_scheduler_type": trainer_utils.SchedulerType,
        "hub_strategy": trainer_utils.HubStrategy,
        "optim": training_args.OptimizerNames,
    }
    assert {name: fields[name].choices for name in enums} == {
        name: tuple(member.value for member in enum) for name, enum in enums.items()
    }
    assert transformers_version() == transformers.__version__


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("learning_rate", {"float"}),
        ("max_steps", {"int"}),
        ("fp16", {"bool"}),
        ("eval_steps", {"float", "none"}),
        ("output_dir", {"str", "none"}),
        ("report_to", {"str", "list", "none"}),
        ("lr_scheduler_kwargs", {"dict", "str", "none"}),
        ("eval_strategy", {"str"}),
    ],
)
def test_kinds(name: str, kinds: set[str]) -> None:
    assert training_fields()[name].kinds == kinds


def test_defaults_of_transformers_satisfy_the_fields() -> None:
    """Else a value that transformers itself uses would be refused."""
    from transformers import TrainingArguments

    from det_files.faults import Faults
    from det_files.schema import check_mapping

    defaults = {
        field.name: getattr(field.default, "value", field.default)
        for field in dataclasses.fields(TrainingArguments)
        if field.default is not dataclasses.MISSING
    }
    assert len(defaults) > 90
    faults = Faults()
    check_mapping("t", defaults, training_fields(), faults)
    assert faults.found == []


def test_validation_imports_no_torch(tmp_path: Path) -> None:
    """DeepSpeed's keys and TrainingArguments' fields included, which the file makes it read."""
    (tmp_path / "e.yaml").write_text(
        "searcher: {name: single, metric: eval_loss}\n"
        "entrypoint: python -m det_files.run_clm\n"
        "hyperparameters:\n"
        "  deepspeed_config: ds_configs/ds_config_stage_3.json\n"
        "  model_arguments: {model_name_or_path: m}\n"
        "  data_arguments: {sources: [{path: d}]}\n"
        "  training_arguments: {seed: 1}\n"
    )
    script = (
        "import sys, pathlib, det_files.validate as v\n"
        f"print(v.validate_file(pathlib.Path({str(tmp_path / 'e.yaml')!r}), pathlib.Path()))\n"
        "print(sorted({'torch', 'transformers', 'deepspeed', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == ["True", "[]"], done.stdout + done.stderr
