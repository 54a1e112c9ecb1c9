"""Checkpoints for tests: trained in this process, or put together without training."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from in_process import run_here

from det_files.experiment import parse_yaml, to_yaml
from det_files.export.__main__ import main

LEARNING_RATE = {"ia3": 1e-1, "prompt": 3e-1, "p_tuning": 3e-1, "prefix": 3e-1}


class Adapters:
    """Trains what is asked for, once each."""

    def __init__(
        self,
        directory: Path,
        hyperparameters: dict[str, Any],
        module: str = "det_files.run_clm",
    ) -> None:
        self._directory = directory
        self._hyperparameters = hyperparameters
        self._module = module
        self._made: dict[str, Path] = {}

    def __call__(self, method: str, name: str = "", **more: Any) -> Path:
        """The checkpoint of a trial with this method; `more` with a name of its own."""
        name = name or method
        if name not in self._made:
            given = self._hyperparameters | {
                "tuning_arguments__method": method,
                "training_arguments__learning_rate": LEARNING_RATE.get(method, 1e-2),
                "training_arguments__use_cpu": True,
                "training_arguments__per_device_train_batch_size": 8,
            }
            with mock.patch.dict(os.environ):
                self._made[name] = run_here(self._directory / name, given | more, self._module)
        return self._made[name]


def export(checkpoint: Path, form: str, output: Path, *more: str) -> Path:
    """Runs the command in this process, which must succeed; returns the output."""
    assert main([str(checkpoint), "--to", form, "--output", str(output), *more]) == 0
    return output


def as_checkpoint(model: Path, dtype: str = "float32", **changes: Any) -> Path:
    """Puts beside a whole model's files what makes them a full fine-tune's checkpoint."""
    run = {
        "model_arguments": {"model_name_or_path": str(model), "dtype": dtype},
        "data_arguments": {},
        "tuning_arguments": {"method": "full"},
        "training_arguments": {},
    }
    (model / "run_args.yaml").write_text(to_yaml(run | changes))
    return model


def changed(checkpoint: Path, copy: Path, **sections: dict[str, Any]) -> Path:
    """A copy of a checkpoint, whose run said other things, too."""
    shutil.copytree(checkpoint, copy)
    (copy / "manifest.json").unlink()
    said = parse_yaml((copy / "run_args.yaml").read_text(), "run")
    for name, values in sections.items():
        said[name] = said.get(name, {}) | values
    (copy / "run_args.yaml").write_text(to_yaml(said))
    return copy


def seq2seq_adapters(directory: Path, model: Path, data: Path, **more: Any) -> Adapters:
    """As the fixture `adapters`, of an encoder-decoder; `full` may be asked for, too."""
    given = {
        "model_arguments__model_name_or_path": str(model),
        "model_arguments__dtype": "float32",
        "data_arguments__sources": [{"path": str(data)}],
        "training_arguments__max_steps": 3,
    }
    return Adapters(directory, given | more, "det_files.run_seq2seq")


def write_stage_3(state: dict[str, torch.Tensor], directory: Path, ranks: int) -> Path:
    """Cuts a model's state into the shards of ZeRO-3, as DeepSpeed 0.19 lays them out.

    Each rank has the same part of every tensor, padded, end to end in one group. Optimizer states
    are left out: nobody reads them here.
    """
    from deepspeed.runtime.zero.config import ZeroStageEnum

    tag = directory / "global_step1"
    tag.mkdir(parents=True)
    (directory / "latest").write_text(tag.name)
    parts: list[list[torch.Tensor]] = [[] for _ in range(ranks)]
    for tensor in state.values():
        size = -(-tensor.numel() // ranks)
        padded = torch.nn.functional.pad(
            tensor.float().flatten(), (0, size * ranks - tensor.numel())
        )
        for rank, part in enumerate(padded.split(size)):
            parts[rank].append(part)
    shapes = {name: tensor.shape for name, tensor in state.items()}
    for rank in range(ranks):
        model = {
            "module": {},
            "buffer_names": [],
            "param_shapes": [shapes],
            "frozen_param_shapes": None,
            "shared_params": {},
            "frozen_param_fragments": None,
            "ds_version": "0.19.8",
        }
        optimizer = {
            "zero_stage": ZeroStageEnum.weights,
            "partition_count": ranks,
            "fp32_flat_groups": [torch.cat(parts[rank])],
        }
        name = f"zero_pp_rank_{rank}_mp_rank_00"
        torch.save(model, tag / f"{name}_model_states.pt")
        torch.save({"optimizer_state_dict": optimizer}, tag / f"{name}_optim_states.pt")
        parts[rank].clear()
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    """Relative name → bytes of every file."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
