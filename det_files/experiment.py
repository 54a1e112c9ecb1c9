"""The experiment file as a typed object: read as `det` reads it, overridden, written resolved."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from det_files.entrypoint import MODULES, Entrypoint, parse_entrypoint
from det_files.faults import ConfigError, Fault, Faults
from det_files.hyperparameters import as_constants
from det_files.schema import show

# The top level of Determined's experiment configuration (its reference documentation, 0.38).
TOP_LEVEL_KEYS = frozenset(
    """
    name description labels data debug project workspace entrypoint environment resources searcher
    hyperparameters max_restarts checkpoint_storage checkpoint_policy min_checkpoint_period
    min_validation_period perform_initial_validation optimizations profiling records_per_epoch
    reproducibility retention_policy scheduling_unit security slurm pbs tensorboard_storage
    bind_mounts integrations internal log_policies preemption_timeout data_layer
    """.split()
)
# a.b[0].c
_DOTTED = re.compile(r"[^.\[\]]+(\[\d+\])*(\.[^.\[\]]+(\[\d+\])*)*")


@dataclass(frozen=True)
class Experiment:
    """One experiment file with its overrides applied. `config` is the whole of it, unsampled."""

    path: Path
    config: dict[str, Any]
    entrypoint: Entrypoint
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.path.stem)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return _mapping(self.config.get("hyperparameters"))

    @property
    def searcher(self) -> dict[str, Any]:
        return _mapping(self.config.get("searcher"))

    @property
    def slots(self) -> int:
        """`resources.slots_per_trial`: ranks of one trial; 1 where it is no number (a fault)."""
        value = _mapping(self.config.get("resources")).get("slots_per_trial", 1)
        return value if isinstance(value, int) and not isinstance(value, bool) else 1

    @property
    def max_restarts(self) -> int:
        value = self.config.get("max_restarts")
        return 5 if value is None else int(value)  # 5 is Determined's default

    @property
    def module(self) -> str:
        return self.entrypoint.module

    @property
    def seed(self) -> int | None:
        return _mapping(self.config.get("reproducibility")).get("experiment_seed")

    @property
    def environment_variables(self) -> dict[str, str]:
        """`environment.environment_variables` that hold for every device, or for the CPU."""
        value = _mapping(self.config.get("environment")).get("environment_variables")
        if isinstance(value, Mapping):
            value = value.get("cpu") or []
        pairs = (str(item).partition("=") for item in value or [])
        return {name: text for name, _, text in pairs}

    def write(self, path: Path) -> None:
        """Writes the resolved experiment as YAML that `load_experiment` and `det` both read."""
        path.write_text(to_yaml(self.config), encoding="utf-8")


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def to_yaml(tree: Any) -> str:
    """YAML text (1.2, block style) of plain mappings, lists and scalars."""
    writer = YAML(typ="safe")
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    writer.dump(tree, stream)
    return stream.getvalue()


def parse_yaml(text: str, subject: str) -> Any:
    """Reads YAML 1.2 as `det` does: `1e-5` is a number, `no` a string.

    Raises:
        ConfigError: it does not parse, or a key stands twice; with line and column.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (MarkedYAMLError, DuplicateKeyError) as error:
        mark = error.problem_mark or error.context_mark
        where = f"{subject}, line {mark.line + 1}, column {mark.column + 1}" if mark else subject
        problem = str(error.problem or error.context).strip().splitlines()[0]
        raise ConfigError(Fault(where, problem)) from error
    except (YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise ConfigError(Fault(subject, str(error).strip().splitlines()[0])) from error


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Reads an experiment file and lays `dotted.path=value` overrides over it, values as YAML.

    Raises:
        ConfigError: the file cannot be read or parsed, an override is malformed, or the top level
            has faults; all of them at once.
    """
    faults = Faults()
    experiment = read_experiment(path, overrides, faults)
    faults.raise_if_any(str(path))
    return experiment


def read_experiment(path: Path, overrides: Sequence[str], faults: Faults) -> Experiment:
    """As `load_experiment`, but notes faults of the top level, so that a caller can find more.

    Raises:
        ConfigError: there is nothing to go on with: no file, or no mapping in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.yaml"))[:20])
        hint = f"; there are: {near}" if near else ""
        raise ConfigError(Fault(str(path), f"{error.strerror}{hint}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Fault(str(path), f"is not UTF-8 text: {error.reason}")) from error
    config = parse_yaml(text, str(path))
    if not isinstance(config, dict):
        raise ConfigError(Fault(str(path), "expected a mapping at the top level"))
    warnings: list[str] = []
    for override in overrides:
        apply_override(config, override, faults)
    if config.get("entrypoint") is None:
        faults.add("entrypoint", f"missing: name a module to run, such as {MODULES[0]}")
        entrypoint = Entrypoint(MODULES[0])
    else:
        entrypoint = parse_entrypoint(config["entrypoint"], faults, warnings)
    _check_top_level(config, faults)
    return Experiment(path, config, entrypoint, warnings)


def apply_override(config: dict[str, Any], override: str, faults: Faults) -> None:
    """Sets one `dotted.path=value` in place; `sources[0].path` reaches into lists."""
    dotted, equals, text = override.partition("=")
    if not equals or not _DOTTED.fullmatch(dotted):
        faults.add(f"--set {override}", "expected dotted.path=value")
        return
    try:
        value = parse_yaml(text, f"--set {dotted}")
    except ConfigError as error:
        faults.extend(error)
        return
    parts = re.findall(r"[^.\[\]]+|\[\d+\]", dotted)
    *parents, last = [int(part[1:-1]) if part[0] == "[" else part for part in parts]
    node: Any = config
    for part in parents:
        if isinstance(part, str) and isinstance(node, dict):
            if not isinstance(node.get(part), dict | list):
                node[part] = {}
            node = node[part]
        elif isinstance(part, int) and isinstance(node, list) and part < len(node):
            node = node[part]
        else:
            faults.add(f"--set {dotted}", f"there is no {show(part)} to go into")
            return
    indexed = isinstance(node, list) and last in range(len(node))
    if indexed or (isinstance(node, dict) and isinstance(last, str)):
        node[last] = value
    else:
        faults.add(f"--set {dotted}", f"there is no {show(last)} to set")


def with_hyperparameters(experiment: Experiment, hyperparameters: Mapping[str, Any]) -> Experiment:
    """The same experiment with these (sampled) hyperparameters: what one trial runs."""
    config = copy.deepcopy(experiment.config)
    config["hyperparameters"] = as_constants(copy.deepcopy(dict(hyperparameters)))
    return Experiment(experiment.path, config, experiment.entrypoint, experiment.warnings)


def _check_top_level(config: Mapping[str, Any], faults: Faults) -> None:
    for key in config:
        if key not in TOP_LEVEL_KEYS:
            faults.unknown("", str(key), TOP_LEVEL_KEYS)
    for key in ("hyperparameters", "searcher", "resources", "environment", "reproducibility"):
        if config.get(key) is not None and not isinstance(config[key], Mapping):
            faults.add(key, f"expected a mapping, got {show(config[key])}")
    if not config.get("searcher"):
        faults.add("searcher", "missing: {name: single, metric: eval_loss} runs one trial")
    slots = _mapping(config.get("resources")).get("slots_per_trial", 1)
    _check_whole("resources.slots_per_trial", slots, 1, faults)
    restarts, seed = config.get("max_restarts"), _mapping(config.get("reproducibility"))
    if restarts is not None:
        _check_whole("max_restarts", restarts, 0, faults)
    if seed.get("experiment_seed") is not None:
        _check_whole("reproducibility.experiment_seed", seed["experiment_seed"], 0, faults)


def _check_whole(path: str, value: Any, minimum: int, faults: Faults) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        faults.add(path, f"expected a whole number >= {minimum}, got {show(value)}")
