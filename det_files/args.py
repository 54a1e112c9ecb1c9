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
from det_files.experiment import Experiment, apply_override, load_experiment
from det_files.faults import ConfigError, Faults
from det_files.hyperparameters import (
    as_constants,
    check_grid,
    check_hyperparameters,
    is_hyperparameter,
    representatives,
    sample,
)
from det_files.models import ModelArguments, gguf_conversion_command
from det_files.old_names import modernise
from det_files.schema import check_mapping, fields_of, show
from det_files.searcher import check_searcher
from det_files.training_arguments import SECTION as TRAINING
from det_files.training_arguments import (
    check_training_arguments,
    precision_flags,
    read_training_arguments,
    why_not_writable,
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

    @property
    def float32_adapters(self) -> bool:
        """True where the Trainer itself must hold float32 weights: without DeepSpeed's masters."""
        return self.deepspeed is None

    @classmethod
    def from_cluster_or_cli(cls, argv: Sequence[str] | None = None) -> RunArgs:
        """Reads the trial's arguments: from the cluster, else from --experiment, else from flags.

        Raises:
            ConfigError: with every fault that was found; nothing was started.
        """
        return fit_to_machine(cls._read(sys.argv[1:] if argv is None else argv))

    @classmethod
    def _read(cls, argv: Sequence[str]) -> RunArgs:
        from det_files.cluster.trial import cluster_trial

        options, flags = _parse_own_options(argv)
        slots = int(os.environ.get("WORLD_SIZE", "1"))
        facts = RunFacts(slots=slots, trial_dir=options.trial_dir)
        on_cluster = cluster_trial()
        if on_cluster is not None:
            config = on_cluster.config
            facts = dataclasses.replace(
                facts, name=str(config.get("name")), searcher=config.get("searcher") or {}
            )
            drawn = as_constants(on_cluster.hyperparameters)
            return resolve_or_raise(drawn, flags, facts, Path.cwd())
        if options.experiment is None:
            overrides = _hyperparameter_overrides(options.set)
            return resolve_or_raise(overrides, flags, facts, Path.cwd())
        experiment = load_experiment(options.experiment, options.set)
        facts = dataclasses.replace(
            facts, name=experiment.name, searcher=experiment.searcher, seed=experiment.seed
        )
        words, subject = [*experiment.entrypoint.flags, *flags], str(options.experiment)
        return resolve_or_raise(experiment.hyperparameters, words, facts, Path.cwd(), subject)

    def with_dtype(self, dtype: str) -> RunArgs:
        """The same arguments in another precision, everywhere where precision is said."""
        deepspeed = self.deepspeed
        if deepspeed is not None:
            auto = {"enabled": "auto"}
            deepspeed = merge(deepspeed, {"fp16": auto, "bf16": auto})
        return dataclasses.replace(
            self,
            model=dataclasses.replace(self.model, dtype=dtype),
            training=self.training | precision_flags(dtype),
            deepspeed=deepspeed,
        )

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


def fit_to_machine(args: RunArgs) -> RunArgs:
    """The arguments as this machine can run them: float16 becomes float32 on a CPU without it.

    A file made for GPUs then still runs on a laptop, a little more exactly; a warning says so.
    """
    if args.model.dtype != "float16":
        return args
    from det_files.cluster.distributed import computes_in_float16

    if computes_in_float16(args.deepspeed is not None, bool(args.training.get("use_cpu"))):
        return args
    if os.environ.get("RANK", "0") == "0":
        print("warning: this CPU does not compute in float16: training in float32", file=sys.stderr)
    return args.with_dtype("float32")


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
    for key in config:
        if key != "hyperparameters":
            faults.add(f"--set {key}", "without --experiment only hyperparameters can be set")
    given = config.get("hyperparameters") or {}
    if not isinstance(given, Mapping):
        faults.add("--set hyperparameters", f"expected a mapping, got {show(given)}")
    faults.raise_if_any("the command line")
    return dict(given)


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
            faults.unknown("hyperparameters", str(key), TOP_LEVEL)
    sections = {name: _section(raw, name, faults) for name in TOP_LEVEL[1:]}
    # Once as it stands, for the faults of every value that a search may draw; then one draw of it.
    _read_sections(sections, faults)
    rng = random.Random(facts.seed or 0)
    drawn = sample(sections | {"deepspeed_config": raw.get("deepspeed_config")}, rng)
    model, data, tuning, given = _read_sections(drawn, Faults())
    if facts.seed is not None:
        given.setdefault("seed", facts.seed)
    training = with_defaults(given, model.dtype, faults)
    check_training_arguments(training, faults)
    output_dir = training.get("output_dir")
    if isinstance(output_dir, str) and (reason := why_not_writable(context / output_dir)):
        faults.add(f"{TRAINING}.output_dir", f"{output_dir}: {reason}")
    if facts.searcher:
        check_searcher(facts.searcher, training, faults)
        if facts.searcher.get("name") == "grid":
            check_grid("hyperparameters", hyperparameters, faults)
    deepspeed = _deepspeed(raw, drawn, model, training, facts, context, faults)
    _check_model(model, tuning, zero_stage(deepspeed), faults)
    if faults.found:
        return None
    return RunArgs(facts, model, data, tuning, training, deepspeed, drawn)


def _section(raw: Mapping[str, Any], name: str, faults: Faults) -> dict[str, Any]:
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
    """The merged configuration of the file drawn; every file that may be named is checked."""
    configs: dict[str, dict[str, Any]] = {}
    overwrite, known = drawn["overwrite_deepspeed_args"], len(faults.found)
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
        configs[name] = complete(merge(base, overwrite))
    if not configs and overwrite and len(faults.found) == known:
        faults.add("hyperparameters.overwrite_deepspeed_args", "needs a deepspeed_config")
    micro, accumulation = (
        training.get(key, 1)
        for key in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    whole = all(isinstance(number, int) for number in (micro, accumulation))
    batch = BatchSizes(micro, accumulation, facts.slots) if whole else None
    clip = training.get("max_grad_norm", 1.0)
    for config in configs.values():
        check_deepspeed_config(config, batch, model.dtype, clip, faults)
    chosen = drawn["deepspeed_config"]
    return configs.get(chosen) if isinstance(chosen, str) else None


def _check_model(
    model: ModelArguments, tuning: TuningArguments, stage: int, faults: Faults
) -> None:
    path = "hyperparameters.model_arguments"
    named = [model.model_name_or_path, model.config_name_or_path]
    if named == [None, None]:
        faults.add(f"{path}.model_name_or_path", "missing: name a model (or config_name_or_path)")
    elif None not in named:
        faults.add(f"{path}.config_name_or_path", "give either this or model_name_or_path")
    if not isinstance(model.gguf_file, str):
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
