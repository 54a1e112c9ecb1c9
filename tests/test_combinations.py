"""Arguments that are right by themselves and wrong together, each named with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from det_files.args import RunArgs, RunFacts
from det_files.faults import ConfigError
from det_files.models import CAUSAL, SEQ2SEQ
from det_files.resolution import resolve_or_raise

ROOT = Path(__file__).parent.parent
MODEL = {"model_name_or_path": "models/some"}
NF4 = {"quantization": "nf4"}
LOW_BIT = {"optim": "adamw_torch_8bit"}


def resolve(kind: str = CAUSAL, **sections: Any) -> RunArgs:
    hyperparameters = {
        "model_arguments": MODEL | sections.pop("model", {}),
        "data_arguments": {"sources": [{"path": "data/quickstart"}]} | sections.pop("data", {}),
        "tuning_arguments": sections.pop("tuning", {}),
        "training_arguments": {"max_steps": 2} | sections.pop("training", {}),
        **sections,
    }
    return resolve_or_raise(hyperparameters, [], RunFacts(kind=kind), ROOT)


def stage(number: str) -> str:
    return f"ds_configs/ds_config_stage_{number}.json"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": {"compile": "layers"}, "deepspeed_config": stage("3")},
            "model_arguments.compile: layers cannot be compiled under ZeRO stage 3",
        ),
        (
            {"model": {"compile": "layer"}},
            'compile: expected one of none, layers, got "layer"; did you mean "layers"?',
        ),
        (
            {"training": {"torch_compile": True}},
            "training_arguments.torch_compile: compiles the whole model anew for many shapes; use "
            "model_arguments.compile: layers",
        ),
        (
            {
                "tuning": {"weight_update": "stochastic"},
                "training": LOW_BIT,
                "model": {"dtype": "float32"},
            },
            "weight_update: stochastic rounds to bfloat16, and model_arguments.dtype is float32",
        ),
        (
            {"tuning": {"weight_update": "stochastic"}},
            "weight_update: stochastic needs training_arguments.optim of adamw_torch_8bit or",
        ),
        (
            {
                "tuning": {"weight_update": "stochastic"},
                "training": LOW_BIT,
                "deepspeed_config": stage("2"),
            },
            "weight_update: stochastic has no effect under DeepSpeed, which keeps float32 masters",
        ),
        (
            {"model": NF4},
            "model_arguments.quantization: nf4 and full tuning: weights in 4 bits cannot be "
            "trained: use tuning_arguments.method: lora or dora",
        ),
        (
            {"model": NF4, "tuning": {"method": "lora"}, "deepspeed_config": stage("3")},
            "model_arguments.quantization: nf4 and ZeRO stage 3, which cannot partition packed "
            "weights: use stage 2",
        ),
        (
            {"model": NF4 | {"gguf_file": "m.gguf"}, "tuning": {"method": "lora"}},
            "model_arguments.quantization: nf4 is made of a model's own weights, not of a GGUF "
            "file's: name that model, or convert the file once: python -m det_files.gguf_conv",
        ),
        (
            {
                "model": NF4 | {"model_name_or_path": None, "config_name_or_path": "models/some"},
                "tuning": {"method": "lora"},
            },
            "model_arguments.quantization: nf4 needs weights to load, and config_name_or_path dr",
        ),
        (
            {"model": {"quantization": "nf8"}},
            'quantization: expected one of none, nf4, got "nf8"; did you mean "nf4"?',
        ),
        (
            {"training": {"oom_backoff": True, "auto_find_batch_size": True}},
            "auto_find_batch_size: changes the global batch, which oom_backoff keeps",
        ),
        (
            {
                "training": {"oom_backoff": True},
                "deepspeed_config": stage("2"),
                "overwrite_deepspeed_args": {"autotuning": {"enabled": True}},
            },
            "training_arguments.oom_backoff: not with autotuning",
        ),
        (
            {"training": {"oom_backof": True}},
            'oom_backof: unknown key; did you mean "oom_backoff"?',
        ),
    ],
)
def test_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve(**sections)
    assert message in str(raised.value)


def test_every_fault_of_quantization_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        resolve(model=NF4 | {"gguf_file": "m.gguf"}, deepspeed_config=stage("3"))
    paths = [fault.path for fault in raised.value.faults]
    assert paths.count("hyperparameters.model_arguments.quantization") == 3


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "prompt", "p_tuning", "prefix"])
@pytest.mark.parametrize("config", [None, "1", "2", "2_offload"])
def test_what_a_base_in_4_bits_can_be_trained_with(method: str, config: str | None) -> None:
    args = resolve(model=NF4, tuning={"method": method}, deepspeed_config=config and stage(config))
    assert (args.model.quantization, args.load_dtype) == ("nf4", "bfloat16")


@pytest.mark.parametrize("name", ["1", "2", "2_offload"])
def test_layers_are_compiled_under_the_other_stages(name: str) -> None:
    args = resolve(model={"compile": "layers"}, deepspeed_config=stage(name))
    assert args.model.compile == "layers"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_stochastic_updates_keep_weights_in_bfloat16(method: str) -> None:
    plain = resolve(tuning={"method": method}, training=LOW_BIT)
    assert plain.float32_adapters
    assert "optim_args" not in plain.training
    args = resolve(tuning={"method": method, "weight_update": "stochastic"}, training=LOW_BIT)
    assert (args.load_dtype, args.float32_adapters) == ("bfloat16", False)
    assert args.training["optim_args"] == "bf16_stochastic_round=True"
    given = LOW_BIT | {"optim_args": "block_size=128"}
    args = resolve(tuning={"weight_update": "stochastic"}, training=given)
    assert args.training["optim_args"] == "block_size=128,bf16_stochastic_round=True"


def test_blocks_and_languages_are_of_one_kind_of_model_each() -> None:
    blocks = {"data": {"packing": "blocks"}}
    assert resolve(**blocks).data.packing == "blocks"
    with pytest.raises(
        ConfigError, match=r"data_arguments\.packing: an encoder-decoder's rows are"
    ):
        resolve(SEQ2SEQ, **blocks)
    language = {"data": {"target_language": "ja_XX"}}
    assert resolve(SEQ2SEQ, **language).data.target_language == "ja_XX"
    with pytest.raises(ConfigError, match="target_language: has no effect but with det_files"):
        resolve(**language)


GENERATING = {"predict_with_generate": True}


@pytest.mark.parametrize(
    ("kind", "training", "fault"),
    [
        (SEQ2SEQ, {"generation_num_beams": 4}, "num_beams: has no effect without predict_with_"),
        (SEQ2SEQ, {"generation_max_length": 9}, "max_length: has no effect without predict_with_"),
        (SEQ2SEQ, GENERATING | {"eval_strategy": "no"}, 'has no effect with eval_strategy "no"'),
        (
            CAUSAL,
            GENERATING,
            "predict_with_generate: is of encoder-decoder models: det_files.run_s",
        ),
    ],
)
def test_generation_that_would_not_happen(kind: str, training: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(kind, training=training)
    (found,) = caught.value.faults
    assert fault in str(found)


@pytest.mark.parametrize("said", [{}, {"generation_max_length": None}])
def test_answers_in_evaluations_are_as_long_as_outputs(said: dict[str, None]) -> None:
    args = resolve(SEQ2SEQ, training=GENERATING | said, data={"max_output_tokens": 70})
    assert args.training["generation_max_length"] == 70
