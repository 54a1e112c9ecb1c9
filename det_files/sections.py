"""The sections of the hyperparameters: which there are, and each read by its own module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from det_files.data.arguments import DataArguments
from det_files.data.reading import read_data_arguments
from det_files.evaluation.tasks import Tasks, read_tasks
from det_files.faults import Faults
from det_files.hyperparameters import is_hyperparameter, representatives
from det_files.models import PREFERENCE, ModelArguments
from det_files.preference.arguments import PreferenceArguments, read_preference_arguments
from det_files.schema import check_mapping, fields_of, show
from det_files.training_arguments import read_training_arguments
from det_files.tuning.arguments import TuningArguments, read_tuning_arguments

TOP_LEVEL = (
    "deepspeed_config",
    "overwrite_deepspeed_args",
    "model_arguments",
    "data_arguments",
    "tuning_arguments",
    "training_arguments",
    "preference_arguments",
    "eval_tasks",
    "measuring_arguments",
)


class Sections(NamedTuple):
    """The sections that are typed; `training` holds what was given, without defaults."""

    model: ModelArguments
    data: DataArguments
    tuning: TuningArguments
    training: dict[str, Any]
    preference: PreferenceArguments | None
    tasks: Tasks


def read_section(raw: Mapping[str, Any], name: str, faults: Faults) -> dict[str, Any]:
    """One section as it was given, a mapping of arguments; {} where it is none (a fault)."""
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        faults.add(f"hyperparameters.{name}", f"expected a mapping, got {show(value)}")
        return {}
    if name != "overwrite_deepspeed_args" and is_hyperparameter(value):
        reason = "expected a mapping; hyperparameters stand for single arguments in it, not for all"
        faults.add(f"hyperparameters.{name}", reason)
        return {}
    for suffix, candidate in representatives(value):
        if not isinstance(candidate, Mapping):
            reason = f"expected a mapping, got {show(candidate)}"
            faults.add(f"hyperparameters.{name}{suffix}", reason)
            return {}
    return dict(value)


def read_sections(sections: Mapping[str, Any], kind: str, faults: Faults) -> Sections:
    """The sections typed, for a model of that kind; their faults are noted."""

    def path(name: str) -> str:
        return f"hyperparameters.{name}"

    model = ModelArguments(
        **check_mapping(
            path("model_arguments"), sections["model_arguments"], fields_of(ModelArguments), faults
        )
    )
    data = read_data_arguments(path("data_arguments"), sections["data_arguments"], faults)
    tuning = read_tuning_arguments(path("tuning_arguments"), sections["tuning_arguments"], faults)
    training = read_training_arguments(
        path("training_arguments"), sections["training_arguments"], faults, kind
    )
    preference, given = None, sections["preference_arguments"]
    if kind == PREFERENCE:
        preference = read_preference_arguments(path("preference_arguments"), given, faults)
    elif given:
        reason = "belongs to det_files.run_preference, which the entrypoint does not run"
        faults.add(path("preference_arguments"), reason)
    tasks = read_tasks(path("eval_tasks"), sections["eval_tasks"], data, kind, faults)
    return Sections(model, data, tuning, training, preference, tasks)
