"""Names of older packages, each accepted with one warning that says today's name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from det_files.hyperparameters import is_hyperparameter


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class OldName:
    """Where the value of an old name goes: a dotted path under `hyperparameters`, or nowhere."""

    path: str | None
    convert: Callable[[Any], Any] = _same
    reason: str = ""

    def warning(self, old: str) -> str:
        if self.path is None:
            return f"{old} is ignored: {self.reason}"
        path = self.path.replace(".0.", "[0].")
        return f"{old} is now {path}" + (f" ({self.reason})" if self.reason else "")

    def converted(self, value: Any) -> Any:
        """The value as today's name takes it; that of every choice, where it is searched over."""
        if not is_hyperparameter(value):
            return self.convert(value)
        if isinstance(value.get("vals"), list):
            return {**value, "vals": [self.convert(choice) for choice in value["vals"]]}
        return {**value, "val": self.convert(value["val"])} if "val" in value else value


def _method(use_lora: Any) -> str:
    words = {"true": "lora", "none": "lora", "false": "full"}
    # Anything else is handed on, to be refused as a method.
    return words.get(str(use_lora).lower(), use_lora)


def _share(warmup_ratio: Any) -> Any:
    # As warmup_steps 1 is one step. This one is all of them, up to a million.
    return 1 - 1e-6 if warmup_ratio == 1 and not isinstance(warmup_ratio, bool) else warmup_ratio


OLD_NAMES: dict[str, OldName] = {
    "evaluation_strategy": OldName("training_arguments.eval_strategy"),
    "warmup_ratio": OldName(
        "training_arguments.warmup_steps", _share, reason="below 1 it is a share of all steps"
    ),
    "gradient_checkpointing": OldName("training_arguments.activation_checkpointing"),
    "gradient_checkpointing_kwargs": OldName("training_arguments.activation_checkpointing_kwargs"),
    "no_cuda": OldName("training_arguments.use_cpu"),
    "overwrite_output_dir": OldName(None, reason="a run never writes over another"),
    "logging_dir": OldName(None, reason="TensorBoard files go to the trial's own directory"),
    "torch_dtype": OldName("model_arguments.dtype"),
    "use_lora": OldName("tuning_arguments.method", _method, "use_lora true is lora"),
    "deepspeed": OldName("deepspeed_config"),
    "dataset_name": OldName("data_arguments.sources.0.dataset_name"),
    "dataset_config_name": OldName("data_arguments.sources.0.dataset_config"),
}
_SECTIONS = ("model_arguments", "data_arguments", "tuning_arguments", "training_arguments")


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets a dotted path in nested mappings, making them on the way; `0` makes a list of one.

    Where something else stands in the way nothing is set: its type is refused where it is read.
    """
    head, _, rest = path.partition(".")
    if not rest:
        tree[head] = value
        return
    in_list = rest.startswith("0.")
    below = tree[head] = tree.get(head) or ([{}] if in_list else {})
    if in_list:
        below, rest = (below[0] if isinstance(below, list) else None), rest[2:]
    if isinstance(below, dict):
        put(below, rest, value)


def modernise(hyperparameters: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """A copy of the hyperparameters with old names replaced; one warning for each is appended.

    Today's name wins where both are given. A section without content is left out, so that it does
    not hide flags.
    """
    modern: dict[str, Any] = {}
    moved: list[tuple[OldName, Any]] = []
    for section, content in copy.deepcopy(dict(hyperparameters)).items():
        if section in _SECTIONS and content is None:
            continue
        if section not in _SECTIONS or not isinstance(content, Mapping) or "type" in content:
            modern[section] = content
            continue
        modern[section] = {k: v for k, v in content.items() if k not in OLD_NAMES}
        for key in (k for k in content if k in OLD_NAMES):
            warnings.append(OLD_NAMES[key].warning(f"{section}.{key}"))
            moved.append((OLD_NAMES[key], content[key]))
    for old, value in moved:
        if old.path is not None and not _has(modern, old.path):
            put(modern, old.path, old.converted(value))
    return modern


def _has(tree: Any, path: str) -> bool:
    for part in path.split("."):
        if isinstance(tree, list):
            tree = tree[int(part)] if part.isdigit() and int(part) < len(tree) else None
        elif isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        else:
            return False
    return tree is not None
