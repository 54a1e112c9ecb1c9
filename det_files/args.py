"""RunArgs: everything one trial needs to know, typed, strict, all faults at once.

Hyperparameters (of the cluster, or of an experiment file) win over command-line flags.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from det_files.autotune.metrics import MeasuringArguments
from det_files.data.arguments import DataArguments
from det_files.deepspeed_config import merge, zero_stage
from det_files.entrypoint import KINDS
from det_files.evaluation.tasks import Tasks
from det_files.experiment import Experiment, apply_override, load_experiment
from det_files.faults import ConfigError, Faults
from det_files.hyperparameters import as_constants
from det_files.models import CAUSAL, SEQ2SEQ, ModelArguments
from det_files.preference.arguments import PreferenceArguments
from det_files.schema import show
from det_files.training_arguments import precision_flags
from det_files.trial_files import CONFIG_ERROR_FILE
from det_files.tuning.arguments import TuningArguments


@dataclass(frozen=True)
class RunFacts:
    """What surrounds the hyperparameters: the run's name, its searcher, its slots and place.

    `seed` (the experiment's) draws hyperparameters. It does not seed training: the master makes one
    up where a file has none, and runs would differ from local ones. `kind` is that of the model,
    which the entrypoint's module says.
    """

    name: str = "run"
    searcher: Mapping[str, Any] = field(default_factory=dict)
    slots: int = 1
    seed: int | None = None
    trial_dir: Path | None = None
    kind: str = CAUSAL


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
    preference: PreferenceArguments | None = None  # of run_preference alone
    measuring: MeasuringArguments = field(default_factory=MeasuringArguments)
    tasks: Tasks = field(default_factory=dict)

    @property
    def stage(self) -> int:
        """The ZeRO stage; 0 without DeepSpeed or with its stage 0."""
        return zero_stage(self.deepspeed)

    @property
    def load_dtype(self) -> str:
        """The precision in which weights are loaded.

        DeepSpeed keeps float32 master weights of its own, and frozen weights need none; only full
        tuning without DeepSpeed must hold float32 weights itself (and then computes in `dtype`
        through autocast), or updates smaller than a bfloat16's last digit would be lost. Rounded
        stochastically, they are kept on average.
        """
        master = self.float32_adapters and self.tuning.method == "full"
        return "float32" if master else self.model.dtype

    @property
    def float32_adapters(self) -> bool:
        """True where the Trainer itself must hold float32 weights: without DeepSpeed's masters."""
        return self.deepspeed is None and self.tuning.weight_update == "float32"

    @classmethod
    def from_cluster_or_cli(cls, argv: Sequence[str] | None = None, kind: str = CAUSAL) -> RunArgs:
        """Reads the trial's arguments: from the cluster, else from --experiment, else from flags.

        Raises:
            ConfigError: with every fault that was found; nothing was started.
        """
        options, flags = _parse_own_options(sys.argv[1:] if argv is None else argv, kind)
        try:
            return fit_to_machine(cls._read(options, flags, kind))
        except ConfigError as error:
            if options.trial_dir is not None and options.trial_dir.is_dir():
                (options.trial_dir / CONFIG_ERROR_FILE).write_text(f"{error}\n", encoding="utf-8")
            raise

    @classmethod
    def _read(cls, options: argparse.Namespace, flags: list[str], kind: str) -> RunArgs:
        # Both build on this module: resolving makes RunArgs, and the cluster needs determined.
        from det_files.cluster.trial import cluster_trial
        from det_files.resolution import resolve_or_raise

        slots = int(os.environ.get("WORLD_SIZE", "1"))
        facts = RunFacts(slots=slots, trial_dir=options.trial_dir, kind=kind)
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
        preference = self.preference
        own = {"preference_arguments": dataclasses.asdict(preference)} if preference else {}
        if self.tasks:
            own["eval_tasks"] = {name: dataclasses.asdict(t) for name, t in self.tasks.items()}
        return own | {
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


def _parse_own_options(argv: Sequence[str], kind: str) -> tuple[argparse.Namespace, list[str]]:
    module = next(module for module, own in KINDS.items() if own == kind)
    what = "an encoder-decoder model" if kind == SEQ2SEQ else "a causal language model"
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=f"Fine-tunes {what}. Every field of the hyperparameters' "
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


def experiment_facts(experiment: Experiment, slots: int) -> RunFacts:
    """The facts of an experiment for checking it at `slots` ranks."""
    return RunFacts(
        experiment.name,
        experiment.searcher,
        slots,
        experiment.seed,
        kind=KINDS[experiment.module],
    )
