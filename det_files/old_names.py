"""Names of older packages, each accepted with one warning that says today's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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
        return f"{old} is now {self.path}" + (f" ({self.reason})" if self.reason else "")


def _method(use_lora: Any) -> str:
    return "lora" if use_lora in (True, "true", "True", None) else "full"


OLD_NAMES: dict[str, OldName] = {
    "evaluation_strategy": OldName("training_arguments.eval_strategy"),
    "warmup_ratio": OldName(
        "training_arguments.warmup_steps", reason="below 1 it is a share of all steps"
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
# Old names that are still today's in some section: a source has a dataset_name.
_SECTIONS = ("model_arguments", "data_arguments", "tuning_arguments", "training_arguments")


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets a dotted path in nested mappings, making them on the way; `0` makes a list of one."""
    head, _, rest = path.partition(".")
    if not rest:
        tree[head] = value
    elif rest.startswith("0."):
        items = tree.setdefault(head, [{}])
        put(items[0], rest[2:], value)
    else:
        put(tree.setdefault(head, {}), rest, value)


def modernise(hyperparameters: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """A copy of the hyperparameters with old names replaced; one warning for each is appended.

    Today's name wins where both are given.
    """
    modern: dict[str, Any] = {}
    moved: list[tuple[OldName, Any]] = []
    for section, content in hyperparameters.items():
        if section not in _SECTIONS or not isinstance(content, Mapping) or "type" in content:
            modern[section] = content
            continue
        modern[section] = {k: v for k, v in content.items() if k not in OLD_NAMES}
        for key in (k for k in content if k in OLD_NAMES):
            warnings.append(OLD_NAMES[key].warning(f"{section}.{key}"))
            moved.append((OLD_NAMES[key], content[key]))
    for old, value in moved:
        if old.path is not None and not _has(modern, old.path):
            put(modern, old.path, old.convert(value))
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
