"""A model's shape from its configuration: the parameters are those that are really trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from memory_runs import run_args
from transformers import AutoConfig

from det_files.faults import ConfigError
from det_files.memory.meta_model import build_on_meta, tune_on_meta
from det_files.memory.reading import read_shape, row_lengths
from det_files.models import ModelArguments, load_config, load_model
from det_files.parameters import parameter_size
from det_files.tuning.arguments import METHODS, TuningArguments
from det_files.tuning.methods import apply_tuning
from tiny import ARCHITECTURES, SEQ2SEQ, make_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def tiny_of(models: Path, architecture: str) -> Path:
    directory = models / architecture
    return directory if directory.exists() else make_model(directory, architecture)


def counts(model: torch.nn.Module) -> tuple[int, int]:
    """(trained, frozen) elements of a real model."""
    sizes = [(parameter_size(p), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, trained in sizes if not trained)


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        *((architecture, method) for architecture in ("llama", "t5") for method in METHODS),
        *(
            (architecture, method)
            for architecture in ("gpt2", "bloom")
            for method in ("full", "lora")
        ),
    ],
)
def test_parameters_are_those_of_the_model_that_is_trained(
    models: Path, architecture: str, method: str
) -> None:
    directory = tiny_of(models, architecture)
    kind = "seq2seq" if architecture in SEQ2SEQ else "causal"
    model, tokenizer = load_model(ModelArguments(str(directory)), kind=kind)
    tuned = apply_tuning(model, TuningArguments(method=method), tokenizer)
    shape = read_shape(run_args(method, kind, model={"model_name_or_path": str(directory)}))
    assert (shape.trained, shape.frozen) == counts(tuned)
    assert not shape.notes


@pytest.mark.parametrize(
    "tuning",
    [
        {"r": 4, "target_modules": ["q_proj"]},
        {"r": 4, "target_modules": r".*layers\.1\..*up_proj"},
        {"r": 4, "modules_to_save": ["lm_head"]},
        {"r": 300},
    ],
)
def test_adapters_are_counted_as_they_are_asked_for(models: Path, tuning: dict[str, Any]) -> None:
    directory = tiny_of(models, "llama")
    model, tokenizer = load_model(ModelArguments(str(directory)))
    tuned = apply_tuning(model, TuningArguments(method="lora", **tuning), tokenizer)
    chosen = run_args("lora", model={"model_name_or_path": str(directory)}, tuning=tuning)
    shape = read_shape(chosen)
    assert (shape.trained, shape.frozen) == counts(tuned)
    assert shape.head.trained == ("modules_to_save" in tuning)


@pytest.mark.parametrize(
    ("zero", "update", "dtype"),
    [
        ({"stage": 2}, "float32", "bfloat16"),
        (None, "float32", "float32"),
        (None, "stochastic", "bfloat16"),
    ],
)
def test_adapters_are_traced_in_the_dtype_that_they_are_trained_in(
    models: Path, zero: Any, update: str, dtype: str
) -> None:
    model = {"model_name_or_path": str(tiny_of(models, "llama"))}
    chosen = run_args("lora", zero=zero, model=model, tuning={"weight_update": update})
    on_meta = build_on_meta(chosen, load_config(chosen.model))
    trained = [p for p in tune_on_meta(on_meta, chosen).parameters() if p.requires_grad]
    assert trained
    assert {str(p.dtype) for p in trained} == {f"torch.{dtype}"}


def test_flan_t5_has_an_output_layer_of_its_own_where_its_weights_are_read(models: Path) -> None:
    """Drawn from a configuration it is tied, as transformers makes it."""
    directory = str(make_model(models / "flan", "t5", tie_word_embeddings=False))
    read = {"model_name_or_path": directory}
    drawn = {"model_name_or_path": None, "config_name_or_path": directory}
    own, tied = (read_shape(run_args(kind="seq2seq", model=model)) for model in (read, drawn))
    assert own.trained - tied.trained == own.head.vocabulary * own.head.hidden
    real, _ = load_model(ModelArguments(config_name_or_path=directory), kind="seq2seq")
    assert tied.trained == sum(p.numel() for p in real.parameters())


def test_quantized_weights_are_those_that_are_quantized_when_loaded(models: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from det_files.quantization import is_quantized

    directory = tiny_of(models, "llama")
    quantized = {"model_name_or_path": str(directory), "quantization": "nf4"}
    model, _ = load_model(ModelArguments(**quantized))
    real = sum(parameter_size(p) for p in model.parameters() if is_quantized(p))
    shape = read_shape(run_args("lora", model=quantized))
    assert sum(p.total for p in shape.parameters if p.quantized) == real


def test_a_vocabulary_grows_with_the_tokenizer(models: Path) -> None:
    directory = tiny_of(models, "llama")
    small = make_model(models / "small", "llama", vocab_size=320)
    named = {"model_name_or_path": str(small), "tokenizer_name": str(directory)}
    assert read_shape(run_args(model=named)).head.vocabulary == 384


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *SEQ2SEQ])
@pytest.mark.parametrize("zero", [None, {"stage": 2}])
def test_the_layers_of_every_architecture_are_traced(architecture: str, zero: Any) -> None:
    settings = (ARCHITECTURES | SEQ2SEQ)[architecture]
    config = AutoConfig.for_model(architecture, **settings)
    kind = "seq2seq" if architecture in SEQ2SEQ else "causal"
    shape = read_shape(run_args("lora", kind, zero=zero), config=config)
    assert not shape.notes
    assert [stack.count for stack in shape.plain.stacks] == [2] * len(shape.plain.stacks)
    assert len(shape.plain.stacks) == (2 if kind == "seq2seq" else 1)
    assert all(stack.layer.saved.at(1) > stack.layer.kept.at(1) for stack in shape.plain.stacks)


def test_no_weights_are_read_and_none_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 70 billion parameters, whose configuration alone is on disk."""
    config = AutoConfig.for_model(
        "llama",
        vocab_size=43176,
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
    )
    config.save_pretrained(tmp_path)
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", None)
    monkeypatch.setattr("safetensors.safe_open", None)
    shape = read_shape(run_args("lora", model={"model_name_or_path": str(tmp_path)}))
    assert shape.frozen == 69_159_755_776
    # r x (in + out) of q, k, v, o, gate, up and down in each layer.
    widths = 16384 + 9216 + 9216 + 16384 + 3 * 36864
    assert shape.trained == 8 * 80 * widths


def test_rows_are_as_long_as_the_data_arguments_let_them_be() -> None:
    config = AutoConfig.for_model("llama", max_position_embeddings=100)
    pairs = run_args(data={"max_input_tokens": 60, "max_output_tokens": 20}).data
    assert row_lengths(pairs, "causal", config).row == 80
    cut = row_lengths(run_args(data={"max_input_tokens": 90}).data, "causal", config)
    assert (cut.row, cut.supervised) == (100, 16)
    pair = row_lengths(pairs, "seq2seq", config)
    assert (pair.row, pair.target, pair.supervised) == (60, 20, 20)
    blocks = run_args(data={"packing": "blocks", "block_size": 512}).data
    assert row_lengths(blocks, "causal", config).row == 512


def test_a_configuration_that_cannot_be_had_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("det_files.memory.reading._hub_answers", lambda: False)
    with pytest.raises(ConfigError) as caught:
        read_shape(run_args(model={"model_name_or_path": "nobody/nothing"}))
    assert "nobody/nothing is no directory here" in str(caught.value)


def test_a_model_of_another_kind_is_a_fault(models: Path) -> None:
    with pytest.raises(ConfigError, match="run_seq2seq"):
        read_shape(run_args(model={"model_name_or_path": str(tiny_of(models, "t5"))}))
    with pytest.raises(ConfigError, match="run_clm"):
        directory = str(tiny_of(models, "llama"))
        read_shape(run_args(kind="seq2seq", model={"model_name_or_path": directory}))
