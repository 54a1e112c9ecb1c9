"""What `hyperparameters.preference_arguments` may hold: a method, its rewards, TRL's arguments.

TRL's arguments are read from its installed source, as those of transformers are (training_fields),
so that names and types are always the installed version's and nothing heavy is imported.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from det_files.faults import Faults, did_you_mean
from det_files.hyperparameters import representatives
from det_files.preference.rewards import REWARDS
from det_files.schema import Field, check_mapping, show
from det_files.training_fields import fields_of_class, installed_source

SECTION = "hyperparameters.preference_arguments"


class Source(NamedTuple):
    """Where TRL keeps the configuration of a method, and the values of its `loss_type`.

    `learning_rate` is the method's own default; `unused` are arguments that it does not read.
    """

    module: str
    name: str
    loss_types: tuple[str, ...] = ()
    learning_rate: float = 1e-6
    unused: tuple[str, ...] = ()


# Loss types that a trainer does not know would be found in the first step only.
METHODS: dict[str, Source] = {
    "dpo": Source(
        "trainer/dpo_config",
        "DPOConfig",
        (
            *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair"),
            *("sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft"),
            "sigmoid_norm",
        ),
    ),
    "kto": Source("trainer/kto_config", "KTOConfig", ("kto", "apo_zero_unpaired")),
    "orpo": Source(
        "experimental/orpo/orpo_config", "ORPOConfig", unused=("max_completion_length",)
    ),
    "reward": Source("trainer/reward_config", "RewardConfig", learning_rate=1e-4),
    "grpo": Source(
        "trainer/grpo_config",
        "GRPOConfig",
        ("cispo", "grpo", "bnpo", "dr_grpo", "dapo", "luspo", "sapo", "vespo"),
    ),
}
_CUT = "rows are cut by data_arguments.max_input_tokens and max_output_tokens"
_MOVES = "the reference would move, and is no part of a checkpoint: a resumed run would differ"
_ORDER = "the order of rows is ours, the same for every number of ranks"
# Arguments of TRL's that this package gives itself, or whose effect would break what it promises.
ELSEWHERE = {
    "learning_rate": "belongs to training_arguments",
    "train_sampling_strategy": _ORDER,
    "shuffle_dataset": _ORDER,
    "max_length": _CUT,
    "truncation_mode": _CUT,
    "padding_free": "TRL has switched it off",
    "dataset_num_proc": "rows are tokenized once a host, into data_arguments.cache_dir",
    "chat_template_path": "see data_arguments.chat_template",
    "chat_template_kwargs": "see data_arguments.chat_template",
    "model_init_kwargs": "see model_arguments",
    "trust_remote_code": "belongs to model_arguments",
    "activation_offloading": "not supported here",
    "eos_token": "the tokenizer's is used",
    "pad_token": "the tokenizer's is used",
    "padding_value": "the tokenizer's is used",
    "pad_to_multiple_of": "not supported here",
    "remove_unused_columns": "not supported here",
    "is_encoder_decoder": "encoder-decoder models are not supported here",
    "generate_during_eval": "not supported here",
    "sync_ref_model": _MOVES,
    "ref_model_mixup_alpha": _MOVES,
    "ref_model_sync_steps": _MOVES,
    "log_completions_hub_repo": "nothing is sent to a hub while a trial runs",
    "max_tool_calling_iterations": "tools are not supported here",
    "log_multimodal": "images are not supported here",
}
# What TRL would find out in the first step, or never.
_BOUNDS: dict[str, dict[str, Any]] = {
    "beta": {"minimum": 0},
    "label_smoothing": {"minimum": 0, "maximum": 1},
    "ld_alpha": {"minimum": 0, "maximum": 1},
    "desirable_weight": {"minimum": 0},
    "undesirable_weight": {"minimum": 0},
    "temperature": {"exclusive_minimum": 0},
    "top_p": {"exclusive_minimum": 0, "maximum": 1},
    "epsilon": {"minimum": 0},
    "top_entropy_quantile": {"minimum": 0, "maximum": 1},
    "max_completion_length": {"minimum": 1},
    "num_iterations": {"minimum": 1},
    "f_divergence_type": {
        "choices": ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
    },
    "scale_rewards": {"choices": ("group", "batch", "none")},
    "importance_sampling_level": {"choices": ("token", "sequence")},
}
_OWN = {
    "method": Field("method", frozenset({"str"}), tuple(METHODS)),
    "rewards": Field("rewards", frozenset({"list"})),
}


@dataclass(frozen=True)
class PreferenceArguments:
    """The method, the names of its rewards (grpo), and `options`, which are TRL's own arguments."""

    method: str = "dpo"
    rewards: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


@functools.cache
def method_fields(method: str) -> dict[str, Field]:
    """Name → Field of all of TRL's arguments of a method, those of ELSEWHERE included.

    Raises:
        ModuleNotFoundError: TRL is not installed.
    """
    module, name, loss_types, _, unused = METHODS[method]
    found = fields_of_class(installed_source("trl", module), name)
    found = {key: field for key, field in found.items() if key not in unused}
    for key, bounds in _BOUNDS.items():
        if key in found:
            found[key] = dataclasses.replace(found[key], **bounds)
    if "loss_type" in found:
        kinds = found["loss_type"].kinds | {"str"}
        found["loss_type"] = dataclasses.replace(
            found["loss_type"], kinds=kinds, choices=loss_types
        )
    return found


def read_preference_arguments(
    path: str, mapping: Mapping[str, Any], faults: Faults
) -> PreferenceArguments:
    """Returns the typed arguments; notes every fault, and what another method alone has."""
    drawn = representatives(mapping.get("method", "dpo"))
    methods = [m for _, m in drawn if isinstance(m, str) and m in METHODS] or ["dpo"]
    methods = list(dict.fromkeys(methods))
    known = dict(_OWN)
    for method in [*METHODS, *methods]:  # those that are drawn say what a name holds
        known |= method_fields(method)
    mapping = dict(mapping)
    for key in [key for key in mapping if key in ELSEWHERE and key in known]:
        faults.add(f"{path}.{key}", ELSEWHERE[key])
        del mapping[key]
    usable = {name: field for name, field in known.items() if name not in ELSEWHERE}
    read = check_mapping(path, mapping, usable, faults)
    for method in methods:
        _check_belonging(path, method, read, faults)
    _check_loss_types(path, read, usable, faults)
    _check_rewards(path, methods, read, faults)
    options = {key: value for key, value in read.items() if key not in _OWN}
    rewards = read.get("rewards") or []
    # What is none of METHODS is noted above; what a search draws from is read again once drawn.
    return PreferenceArguments(methods[0], rewards if isinstance(rewards, list) else [], options)


def _check_belonging(path: str, method: str, read: Mapping[str, Any], faults: Faults) -> None:
    for key in read:
        if key in _OWN or key in method_fields(method):
            continue
        owners = [name for name in METHODS if key in method_fields(name)]
        faults.add(f"{path}.{key}", f"belongs to method {' or '.join(owners)}, not to {method}")


def _check_loss_types(
    path: str, read: Mapping[str, Any], usable: Mapping[str, Field], faults: Faults
) -> None:
    """Each of a list of loss types; a single one is a choice already."""
    for suffix, value in representatives(read.get("loss_type")):
        names = value if isinstance(value, list) else []
        _check_names(f"{path}.loss_type{suffix}", names, usable["loss_type"].choices, faults)
        weights = read.get("loss_weights")
        if names and isinstance(weights, list) and len(weights) != len(names):
            reason = f"expected a number for each of {len(names)} loss types, got {len(weights)}"
            faults.add(f"{path}.loss_weights", reason)


def _check_names(path: str, names: list[Any], valid: Iterable[str], faults: Faults) -> None:
    """Notes those of a list that are none of the valid ones, or stand there twice."""
    for number, name in enumerate(names):
        where = f"{path}[{number}]"
        if name not in valid:
            hint = did_you_mean(str(name), valid)
            faults.add(where, f"expected one of {', '.join(valid)}, got {show(name)}{hint}")
        elif name in names[:number]:
            faults.add(where, f"{name} stands there twice")


def _check_rewards(path: str, methods: list[str], read: Mapping[str, Any], faults: Faults) -> None:
    where = f"{path}.rewards"
    given = read.get("rewards")
    if given and methods != ["grpo"]:
        faults.add(where, f"belongs to method grpo, not to {', '.join(methods)}")
    if "grpo" in methods and not given:
        faults.add(where, f"missing: name one or more of {', '.join(REWARDS)}")
    for _, names in representatives(given):
        _check_names(where, names if isinstance(names, list) else [], REWARDS, faults)
        weights = read.get("reward_weights")
        if isinstance(names, list) and isinstance(weights, list) and len(weights) != len(names):
            reason = f"expected a number for each of {len(names)} rewards, got {len(weights)}"
            faults.add(f"{path}.reward_weights", reason)
