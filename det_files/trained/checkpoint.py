"""A checkpoint of a trial: what it holds, and how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from det_files.cluster.manifest import METADATA_FILE, RESOLVED_CONFIG_FILE
from det_files.experiment import parse_yaml
from det_files.faults import ConfigError, Fault, Faults
from det_files.local.run_directory import RunDirectory
from det_files.models import CAUSAL, REWARD, SEQ2SEQ, ModelArguments
from det_files.schema import check_mapping, fields_of
from det_files.trained.locating import find_best_checkpoint
from det_files.trained.weights import (
    CONFIG_FILE,
    INDEX_FILE,
    WEIGHTS_FILE,
    find_weight_faults,
)
from det_files.tuning.adapters import ADAPTER_FILE

STATE_FILE = "trainer_state.json"
TOKENIZER_FILE = "tokenizer_config.json"


@dataclass(frozen=True)
class TrainedCheckpoint:
    """A checkpoint of a trial and what is written beside it."""

    path: Path
    run: dict[str, Any]  # run_args.yaml
    model: ModelArguments  # with paths as they are from here
    metadata: dict[str, Any]
    state: dict[str, Any]  # trainer_state.json
    kind: str = CAUSAL  # or seq2seq, or reward

    @property
    def method(self) -> str:
        return str(self.run["tuning_arguments"].get("method", "full"))

    @property
    def preference_method(self) -> str | None:
        """dpo, kto, grpo, reward …; None of supervised training."""
        method = self.run.get("preference_arguments", {}).get("method")
        return None if method is None else str(method)

    @property
    def is_adapter(self) -> bool:
        """Whether only an adapter was trained, to be put on the base model."""
        return self.method != "full"

    @property
    def has_whole_weights(self) -> bool:
        """Whether the whole model's weights lie there as safetensors; else as ZeRO shards."""
        return any((self.path / name).is_file() for name in (WEIGHTS_FILE, INDEX_FILE))


def open_checkpoint(path: Path) -> TrainedCheckpoint:
    """Returns the checkpoint of a checkpoint directory, or a run's best one.

    Raises:
        ConfigError: nothing of that kind is there, or it is damaged; every fault at once.
    """
    if not path.is_dir():
        raise ConfigError(Fault(str(path), "no such directory"))
    if (path / "summary.json").is_file():
        path = find_best_checkpoint(RunDirectory(path)).path
    faults = Faults()
    run = _read_run_args(path, faults)
    model = _model_arguments(run, path, faults)
    checkpoint = TrainedCheckpoint(
        path.absolute(),
        run,
        model,
        _read_json(path / METADATA_FILE, faults),
        _read_json(path / STATE_FILE, faults),
    )
    if not faults.found:
        find_weight_faults(checkpoint.path, checkpoint.is_adapter, faults)
        checkpoint = replace(checkpoint, kind=_kind(checkpoint, faults))
    faults.raise_if_any()
    return checkpoint


def _read_run_args(path: Path, faults: Faults) -> dict[str, Any]:
    file = path / RESOLVED_CONFIG_FILE
    if not file.is_file():
        faults.add(
            str(path), f"is no checkpoint of a trial and no run: it has no {RESOLVED_CONFIG_FILE}"
        )
        return {}
    try:
        run = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    except ConfigError as error:
        faults.extend(error)
        return {}
    sections = ("model_arguments", "data_arguments", "tuning_arguments", "training_arguments")
    if not isinstance(run, Mapping) or not all(
        isinstance(run.get(name), Mapping) for name in sections
    ):
        faults.add(str(file), f"expected a mapping with {', '.join(sections)}")
        return {}
    return dict(run)


def _model_arguments(run: Mapping[str, Any], path: Path, faults: Faults) -> ModelArguments:
    given = run.get("model_arguments", {})
    where = f"{path / RESOLVED_CONFIG_FILE}: model_arguments"
    model = ModelArguments(**check_mapping(where, given, fields_of(ModelArguments), faults))
    # How training computed is its own affair: this machine may have no such kernels.
    return replace(
        model,
        attn_implementation=None,
        compile="none",
        activation_offloading=False,
        model_name_or_path=as_from_here(model.model_name_or_path, path),
        config_name_or_path=as_from_here(model.config_name_or_path, path),
        tokenizer_name=as_from_here(model.tokenizer_name, path),
    )


def as_from_here(name: str | None, checkpoint: Path) -> str | None:
    """A hub id or path of the run; a path relative to where the run was started, made absolute."""
    if name is None or Path(name).is_absolute():
        return name
    # runs/<name>/<n>/trials/<k>/checkpoints/<uuid>; elsewhere (a download) there is no summary.
    try:
        summary = RunDirectory(checkpoint.absolute().parents[3]).read_summary()
    except (IndexError, ConfigError):
        return name
    there = Path(summary.get("directory", ".")) / name
    return str(there.absolute()) if there.exists() else name


def _kind(checkpoint: TrainedCheckpoint, faults: Faults) -> str:
    """The model's kind: the entrypoint is not among what is written beside a checkpoint."""
    if checkpoint.run.get("preference_arguments", {}).get("method") == "reward":
        return REWARD
    if checkpoint.is_adapter:
        config = _read_json(checkpoint.path / ADAPTER_FILE, faults)
        return SEQ2SEQ if config.get("task_type") == "SEQ_2_SEQ_LM" else CAUSAL
    config = _read_json(checkpoint.path / CONFIG_FILE, faults)
    return SEQ2SEQ if config.get("is_encoder_decoder") else CAUSAL


def _read_json(file: Path, faults: Faults) -> dict[str, Any]:
    """The JSON object of a file; {} where there is none."""
    if not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        faults.add(str(file), f"is not JSON: {error}")
        return {}
    return read if isinstance(read, dict) else {}
