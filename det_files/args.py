"""RunArgs: everything one trial needs to know, typed, strict, all faults at once.

Hyperparameters (of the cluster, or of an experiment file) win over command-line flags.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from det_files.data.arguments import DataArguments, read_data_arguments
from det_files.deepspeed_config import (
    BatchSizes,
    check_deepspeed_config,
    complete,
    load_deepspeed_config,
    merge,
    zero_stage,
)
from det_files.entrypoint import flags_to_hyperparameters
from det_files.experiment import Experiment, load_experiment
from det_files.faults import ConfigError, Faults
from det_files.hyperparameters import check_hyperparameters, representatives, sample
from det_files.models import ModelArguments, gguf_conversion_command
from det_files.old_names import modernise
from det_files.schema import check_mapping, fields_of, show
from det_files.searcher import check_searcher
from det_files.training_arguments import (
    check_training_arguments,
    read_training_arguments,
    with_defaults,
)
from det_files.tuning import TuningArguments, read_tuning_arguments

TOP_LEVEL = (
    "deepspeed_config",
    "overwrite_deepspeed_args",
    "model_arguments",
    "data_arguments",
    "tuning_arguments",
    "training_arguments",
)


@dataclass(frozen=True)
class RunFacts:
    """What surrounds the hyperparameters: the run's name, its searcher, its slots and place."""

    name: str = "run"
    searcher: Mapping[str, Any] = field(default_factory=dict)
    slots: int = 1
    seed: int | None = None
    trial_dir: Path | None = None


@dataclass(frozen=True)
class RunArgs:
    """One trial's arguments, resolved: nothing in here is a default that is still to be filled."""

    facts: RunFacts
    model: ModelArguments
    data: DataArguments
    tuning: TuningArguments
    training: dict[str, Any]
    deepspeed: dict[str, Any] | None
    hyperparameters: dict[str, Any]

    @property
    def stage(self) -> int:
        """The ZeRO stage; 0 without DeepSpeed or with its stage 0."""
        return zero_stage(self.deepspeed)

    @property
    def load_dtype(self) -> str:
        """The precision in which weights are loaded.

        DeepSpeed keeps float32 master weights of its own, and frozen weights need none; only full
        tuning without DeepSpeed must hold float32 weights itself (and then computes in `dtype`
        through autocast), or updates smaller than a bfloat16's last digit would be lost.
        """
        master = self.deepspeed is None and self.tuning.method == "full"
        return "float32" if master else self.model.dtype

    @classmethod
    def from_cluster_or_cli(cls, argv: Sequence[str] | None = None) -> RunArgs:
        """Reads the trial's arguments: from the cluster, else from --experiment, else from flags.

        Raises:
            ConfigError: with every fault that was found; nothing was started.
        """
        from det_files.cluster.trial import cluster_trial

        options, flags = _parse_own_options(sys.argv[1:] if argv is None else argv)
        slots = int(os.environ.get("WORLD_SIZE", "1"))
        facts = RunFacts(slots=slots, trial_dir=options.trial_dir)
        on_cluster = cluster_trial()
        if on_cluster is not None:
            config = on_cluster.config
            facts = dataclasses.replace(
                facts, name=str(config.get("name")), searcher=config.get("searcher") or {}
            )
            return resolve_or_raise(on_cluster.hyperparameters, flags, facts, Path.cwd())
        if options.experiment is None:
            overrides = _hyperparameter_overrides(options.set)
            return resolve_or_raise(overrides, flags, facts, Path.cwd())
        experiment = load_experiment(options.experiment, options.set)
        facts = dataclasses.replace(
            facts, name=experiment.name, searcher=experiment.searcher, seed=experiment.seed
        )
        drawn = sample(experiment.hyperparameters, random.Random(experiment.seed or 0))
        words = [*experiment.entrypoint.flags, *flags]
        return resolve_or_raise(drawn, words, facts, Path.cwd(), str(options.experiment))

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings of everything, as it is written beside every checkpoint."""
        return {
            "name": self.facts.name,
            "slots": self.facts.slots,
            "model_arguments": dataclasses.asdict(self.model),
            "data_arguments": dataclasses.asdict(self.data),
            "tuning_arguments": dataclasses.asdict(self.tuning),
            "training_arguments": dict(self.training),
            "deepspeed": self.deepspeed,
        }


def _parse_own_options(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m det_files.run_clm",
        description="Fine-tunes a causal language model. Every field of the hyperparameters' "
        "sections may also be given as a flag (--learning_rate 1e-5).",
        allow_abbrev=False,
    )
    parser.add_argument("--experiment", type=Path, help="an experiment file")
    parser.add_argument("--trial_dir", "--trial-dir", type=Path, help="where results go")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    return parser.parse_known_args(list(argv))


def _hyperparameter_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    faults = Faults()
    for override in overrides:
        apply_override(config, override, faults)
    faults.raise_if_any("the command line")
    return dict(config.get("hyperparameters") or {})


def resolve_or_raise(
    hyperparameters: Mapping[str, Any],
    flags: Sequence[str],
    facts: RunFacts,
    context: Path,
    subject: str = "",
) -> RunArgs:
    """`resolve`, with its warnings issued once each and its faults raised together."""
    faults, warnings = Faults(), list[str]()
    args = resolve(hyperparameters, flags, facts, context, faults, warnings)
    if os.environ.get("RANK", "0") == "0":
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
    faults.raise_if_any(subject)
    assert args is not None
    return args


def resolve(
    hyperparameters: Mapping[str, Any],
    flags: Sequence[str],
    facts: RunFacts,
    context: Path,
    faults: Faults,
    warnings: list[str],
) -> RunArgs | None:
    """Merges flags and hyperparameters into RunArgs; None where faults leave nothing to build.

    Hyperparameters that are still ranges are checked at their extremes, and one draw of them is
    resolved. Paths are relative to `context`. Nothing given is changed.
    """
    check_hyperparameters("hyperparameters", hyperparameters, faults)
    from_flags = flags_to_hyperparameters(flags, faults, warnings)
    raw = merge(from_flags, modernise(hyperparameters, warnings))
    for key in raw:
        if key not in TOP_LEVEL:
            faults.unknown("hyperparameters", key, TOP_LEVEL)
    sections = {name: _section(raw, name, faults) for name in TOP_LEVEL[1:]}
    # Once as it stands, for the faults of every value that a search may draw; then one draw of it.
    _read_sections(sections, faults)
    drawn = sample(sections, random.Random(0))
    model, data, tuning, given = _read_sections(drawn, Faults())
    if facts.seed is not None:
        given.setdefault("seed", facts.seed)
    training = with_defaults(given, model.dtype, faults)
    if not faults.found:
        check_training_arguments(training, faults)
    if facts.searcher:
        check_searcher(facts.searcher, training, faults)
    deepspeed = _deepspeed(raw, drawn, model, training, facts, context, faults)
    _check_model(model, tuning, zero_stage(deepspeed), faults)
    if faults.found:
        return None
    return RunArgs(facts, model, data, tuning, training, deepspeed, dict(raw))


def _section(raw: Mapping[str, Any], name: str, faults: Faults) -> dict[str, Any]:
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        faults.add(f"hyperparameters.{name}", f"expected a mapping, got {show(value)}")
        return {}
    return dict(value)


def _read_sections(
    sections: Mapping[str, Any], faults: Faults
) -> tuple[ModelArguments, DataArguments, TuningArguments, dict[str, Any]]:
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
        path("training_arguments"), sections["training_arguments"], faults
    )
    return model, data, tuning, training


def _deepspeed(
    raw: Mapping[str, Any],
    drawn: Mapping[str, Any],
    model: ModelArguments,
    training: Mapping[str, Any],
    facts: RunFacts,
    context: Path,
    faults: Faults,
) -> dict[str, Any] | None:
    """The merged configuration of the first named file; every file that may be named is checked."""
    configs = []
    for suffix, name in representatives(raw.get("deepspeed_config")):
        if name is None:
            continue
        if not isinstance(name, str):
            where = f"hyperparameters.deepspeed_config{suffix}"
            faults.add(where, f"expected the path of a JSON file, got {show(name)}")
            continue
        try:
            base = load_deepspeed_config(context / name, name)
        except ConfigError as error:
            faults.extend(error)
            continue
        configs.append(complete(merge(base, drawn["overwrite_deepspeed_args"])))
    if not configs and drawn["overwrite_deepspeed_args"] and "deepspeed_config" not in raw:
        faults.add("hyperparameters.overwrite_deepspeed_args", "needs a deepspeed_config")
    micro, accumulation = (
        training.get(key, 1)
        for key in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    if all(isinstance(number, int) for number in (micro, accumulation)):
        batch = BatchSizes(micro, accumulation, facts.slots)
        clip = training.get("max_grad_norm", 1.0)
        for config in configs:
            check_deepspeed_config(config, batch, model.dtype, clip, faults)
    return configs[0] if configs else None


def _check_model(
    model: ModelArguments, tuning: TuningArguments, stage: int, faults: Faults
) -> None:
    path = "hyperparameters.model_arguments"
    if (model.model_name_or_path is None) == (model.config_name_or_path is None):
        faults.add(f"{path}.model_name_or_path", "missing: name a model (or config_name_or_path)")
    if model.gguf_file is None:
        return
    for refused, what in ((stage == 3, "ZeRO stage 3"), (tuning.method == "full", "full tuning")):
        if refused:
            faults.add(
                f"{path}.gguf_file",
                f"a GGUF file cannot be used with {what}; convert it once: "
                f"{gguf_conversion_command(model)}",
            )




def experiment_facts(experiment: Experiment, slots: int) -> RunFacts:
    """The facts of an experiment for checking it at `slots` ranks."""
    return RunFacts(experiment.name, experiment.searcher, slots, experiment.seed)
