"""Preference arguments and the other sections: what is wrong together, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from det_files.args import RunArgs, RunFacts
from det_files.faults import ConfigError
from det_files.models import PREFERENCE
from det_files.resolution import resolve_or_raise

ROOT = Path(__file__).parents[2]


def resolve(preference: dict[str, Any], kind: str = PREFERENCE, **sections: Any) -> RunArgs:
    hyperparameters = {
        "model_arguments": {"model_name_or_path": "models/some"} | sections.get("model", {}),
        "data_arguments": {"sources": [{"path": "data/preferences"}]} | sections.get("data", {}),
        "tuning_arguments": {"method": "lora"} | sections.get("tuning", {}),
        "training_arguments": {"max_steps": 2, "per_device_train_batch_size": 4}
        | sections.get("training", {}),
        "preference_arguments": preference,
    }
    facts = RunFacts(slots=2, kind=kind, searcher=sections.get("searcher", {}))
    return resolve_or_raise(hyperparameters, [], facts, ROOT)


GRPO = {"method": "grpo", "rewards": ["exact_match"]}


@pytest.mark.parametrize(
    ("preference", "sections", "messages"),
    [
        ({}, {"tuning": {"method": "prompt"}}, ["method: prompt is not offered with preferences"]),
        (
            {},
            {"tuning": {"modules_to_save": ["lm_head"]}},
            ["modules_to_save: lm_head cannot be adapted here"],
        ),
        (
            GRPO,
            {"tuning": {"target_modules": ["q_proj", "lm_head"]}},
            ["target_modules: lm_head cannot be adapted here"],
        ),
        (
            {},
            {
                "model": {"compile": "layers", "activation_offloading": True},
                "data": {"packing": True},
            },
            [
                "model_arguments.compile: not supported with preferences",
                "model_arguments.activation_offloading: not supported with preferences",
                "data_arguments.packing: not supported with preferences",
            ],
        ),
        (
            {},
            {"data": {"sources": [{"path": "x", "columns": {"input": "a", "output": "b"}}]}},
            ["sources[0].columns: method dpo needs prompt, chosen, rejected"],
        ),
        (
            {"method": "kto"},
            {"data": {"sources": [{"path": "x", "columns": {"text": "a"}}]}},
            ["method kto needs prompt, chosen, rejected or prompt, completion, label"],
        ),
        (
            GRPO,
            {"data": {"sources": [{"path": "x", "columns": {"prompt": "a"}}]}},
            ["method grpo needs input, output or messages"],
        ),
        (
            {"method": "kto", "precompute_ref_log_probs": True},
            {"training": {"per_device_train_batch_size": 1}},
            [
                "per_device_train_batch_size: kto compares the rows of a micro-batch",
                "per_device_eval_batch_size: kto compares the rows of a micro-batch",
                "precompute_ref_log_probs: not with kto",
            ],
        ),
        (
            GRPO | {"num_generations": 3},
            {"training": {"gradient_accumulation_steps": 2, "eval_strategy": "no"}},
            ["num_generations: 16 answers are generated at once", "no multiple of 3"],
        ),
        (
            GRPO | {"num_generations": 4},
            {"training": {"per_device_eval_batch_size": 3}},
            ["per_device_eval_batch_size: 3 x 2 slots is no multiple of 4 answers"],
        ),
        (GRPO | {"num_generations": 1}, {}, ["num_generations: needs 2 or more"]),
        (
            GRPO | {"generation_batch_size": 8, "steps_per_generation": 1},
            {},
            ["generation_batch_size: give either this or steps_per_generation"],
        ),
        (
            GRPO | {"generation_batch_size": 12},
            {},
            ["generation_batch_size: 12 is no multiple of 4 x 2 slots"],
        ),
        ({"method": "dop"}, {}, ["preference_arguments.method: expected one of dpo, kto"]),
        (
            GRPO,
            {"data": {"too_long": "cut"}},
            ["too_long: a prompt's end is what"],
        ),
        (
            {},
            {"tuning": {"lora_dropout": 0.1}, "model": {"quantization": "nf4"}},
            [
                "lora_dropout: has no effect unless preference_arguments.disable_dropout is false",
                "quantization: not offered with preferences",
            ],
        ),
        (
            GRPO | {"beta": 0.1},
            {
                "tuning": {"method": "full"},
                "model": {"model_revision": "v2", "trust_remote_code": True},
            },
            ["model_revision: not with grpo", "trust_remote_code: not with grpo"],
        ),
        (
            GRPO | {"beta": 0.1},
            {"tuning": {"method": "full"}, "model": {"tokenizer_name": "other"}},
            ["tokenizer_name: not with grpo, beta and full tuning"],
        ),
        (
            GRPO,
            {"searcher": {"name": "single", "metric": "eval_rewards/exact_match/mean"}},
            ["searcher.smaller_is_better: eval_rewards/exact_match/mean grows as the model gets"],
        ),
        (
            {},
            {"searcher": {"name": "single", "metric": "eval_accuracy"}},
            ["searcher.metric: eval_accuracy is not among eval_loss, eval_rewards/chosen"],
        ),
        (
            {"method": "kto"},
            {"training": {"oom_backoff": True}},
            ["oom_backoff: not with kto, which compares the rows of a micro-batch"],
        ),
        (
            {"method": "orpo"},
            {"training": {"oom_backoff": True}},
            ["oom_backoff: not with orpo, whose loss is in part a mean over the tokens"],
        ),
        (GRPO, {"training": {"oom_backoff": True}}, ["oom_backoff: not with grpo: answers are"]),
        (
            {"loss_type": ["sigmoid", "sft"]},
            {"training": {"oom_backoff": True}},
            ["oom_backoff: not with loss_type sft, which is made of a whole micro-batch"],
        ),
    ],
)
def test_faults(preference: dict[str, Any], sections: Any, messages: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(preference, **sections)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize("preference", [{}, {"loss_type": "ipo"}, {"method": "reward"}])
def test_methods_whose_loss_is_a_mean_over_pairs_may_back_off(preference: dict[str, Any]) -> None:
    args = resolve(preference, training={"oom_backoff": True})
    assert args.training["oom_backoff"] is True


@pytest.mark.parametrize(
    ("preference", "metric"),
    [
        ({}, "eval_rewards/accuracies"),
        ({"method": "reward"}, "eval_accuracy"),
        (GRPO, "eval_rewards/exact_match/mean"),
    ],
)
def test_a_search_may_take_a_methods_metric(preference: dict[str, Any], metric: str) -> None:
    searcher = {"name": "single", "metric": metric, "smaller_is_better": False}
    resolve(preference, searcher=searcher)


def test_its_columns_belong_to_its_entrypoint() -> None:
    data = {"sources": [{"path": "x", "columns": {"chosen": "a"}}]}
    with pytest.raises(ConfigError, match=r"columns\.chosen: belongs to det_files\.run_pref"):
        resolve({}, kind="causal", data=data)


def test_the_section_belongs_to_its_entrypoint() -> None:
    with pytest.raises(ConfigError, match=r"preference_arguments: belongs to det_files\.run_pref"):
        resolve({"method": "dpo"}, kind="causal")
