"""Loading models and tokenizers, and what is said where that fails."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from det_files.faults import ConfigError
from det_files.models import SEQ2SEQ, ModelArguments, load_model, load_tokenizer
from tiny import make_model

SECTION = "ConfigError: hyperparameters.model_arguments"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model in a directory of the test's own."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub client's own offline mode: without it an unreachable hub is tried for a minute."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def arguments(directory: Path | str, **more: object) -> ModelArguments:
    options = {"model_name_or_path": str(directory), "dtype": "float32"} | more
    return ModelArguments(**options)  # type: ignore[arg-type]


def fault(args: ModelArguments) -> str:
    with pytest.raises(ConfigError) as error:
        load_model(args)
    return str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_directory_is_loaded_in_the_wanted_precision(tiny_model: Path, dtype: str) -> None:
    model, tokenizer = load_model(arguments(tiny_model, dtype=dtype))
    stored = load_file(tiny_model / "model.safetensors")
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert weight.dtype == getattr(torch, dtype)
    wanted = stored["model.layers.0.self_attn.q_proj.weight"].to(weight.dtype)
    assert torch.equal(weight, wanted)
    assert tokenizer.pad_token == "<|pad|>"
    assert model.config.use_cache is False


def test_the_precision_of_loading_may_be_another(tiny_model: Path) -> None:
    model, _ = load_model(arguments(tiny_model, dtype="bfloat16"), "float32")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_bin_weights_load_with_a_warning(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(state, copy / "pytorch_model.bin")
    with caplog.at_level(logging.WARNING):
        model, _ = load_model(arguments(copy))
    assert f"{copy} has no safetensors: loading .bin with weights_only" in caplog.text
    assert torch.equal(model.lm_head.weight, state["lm_head.weight"])


class Payload:
    """What must not run: unpickling it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def harm_pickle(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({"x": Payload(directory / "pwned")}, directory / "pytorch_model.bin")


def cut_short(directory: Path) -> None:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


@pytest.mark.parametrize(
    "harm",
    [
        harm_pickle,
        cut_short,
        lambda d: (d / "model.safetensors").unlink(),
        lambda d: (d / "config.json").write_text("{"),
        lambda d: (d / "config.json").write_text('{"model_type": "no_such"}'),
    ],
)
def test_a_directory_that_cannot_be_loaded_is_a_config_error(
    harm: Callable[[Path], object], copy: Path
) -> None:
    harm(copy)
    text = fault(arguments(copy))
    assert text.startswith(
        f"{SECTION}.model_name_or_path: the directory {copy} could not be loaded: "
    )
    assert not (copy / "pwned").exists()


def test_a_config_gives_random_weights(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model / "config.json", tmp_path)
    args = ModelArguments(
        config_name_or_path=str(tmp_path), tokenizer_name=str(tiny_model), dtype="float32"
    )
    model, _ = load_model(args, seed=3)
    same, _ = load_model(args, seed=3)
    other, _ = load_model(args, seed=4)
    assert torch.equal(model.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)
    assert model.config.num_hidden_layers == 2


@pytest.mark.usefixtures("offline")
def test_an_unreachable_model_says_how_to_have_it() -> None:
    text = fault(arguments("tokyotech-llm/Swallow-70b-instruct-v0.1"))
    assert text.startswith(f"{SECTION}.model_name_or_path: tokyotech-llm/Swallow-70b")
    assert "HF_HOME=/shared/hf hf download tokyotech-llm/Swallow-70b-instruct-v0.1" in text
    assert "HF_HOME is honoured" in text


@pytest.mark.usefixtures("offline")
def test_an_unreachable_tokenizer_is_named_and_not_the_model(tiny_model: Path) -> None:
    text = fault(arguments(tiny_model, tokenizer_name="somebody/tokenizer"))
    assert text.startswith(f"{SECTION}.tokenizer_name: somebody/tokenizer is no directory here")
    assert "hf download somebody/tokenizer" in text


def test_a_cache_under_hf_home_is_honoured(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, since the client reads HF_HOME once."""
    import subprocess
    import sys

    repository = tmp_path / "hub" / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(tiny_model, repository / "snapshots" / ("0" * 40))
    code = (
        "from det_files.models import *; m, t = load_model(ModelArguments('some/model')); "
        "print(m.config.model_type, len(t))"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split()[:2] == ["llama", "384"], done.stderr


def test_more_tokens_than_the_model_embeds_are_refused(copy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.add_tokens([f"<new{i}>" for i in range(3)])
    tokenizer.save_pretrained(copy)
    text = fault(arguments(copy))
    assert text == f"{SECTION}.tokenizer_name: the tokenizer has 387 tokens and {copy} embeds 384"


def test_a_tokenizer_without_pad_token_pads_with_its_end(copy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(copy)
    assert load_tokenizer(arguments(copy)).pad_token_id == tokenizer.eos_token_id


def test_a_tokenizer_without_end_token_is_refused(copy: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(copy)
    assert "has no end-of-text token" in fault(arguments(copy))


def test_code_of_a_model_runs_only_where_it_is_trusted(copy: Path) -> None:
    mark = copy / "ran"
    (copy / "modeling_own.py").write_text(
        f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class Own(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((copy / "config.json").read_text()) | {
        "model_type": "own",
        "architectures": ["Own"],
        "auto_map": {
            "AutoConfig": "modeling_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.Own",
        },
    }
    (copy / "config.json").write_text(json.dumps(config))
    assert "brings code of its own; trust_remote_code: true would run it" in fault(arguments(copy))
    assert not mark.exists()
    model, _ = load_model(arguments(copy, trust_remote_code=True))
    assert type(model).__name__ == "Own"
    assert mark.exists()


def test_attention_is_the_one_that_was_asked_for(tiny_model: Path) -> None:
    model, _ = load_model(arguments(tiny_model, attn_implementation="eager"))
    assert model.config._attn_implementation == "eager"
    default = AutoModelForCausalLM.from_pretrained(tiny_model).config._attn_implementation
    assert load_model(arguments(tiny_model))[0].config._attn_implementation == default


@pytest.mark.parametrize("architecture", ["bart", "mbart", "t5"])
@pytest.mark.parametrize("key", ["model_name_or_path", "config_name_or_path"])
def test_an_encoder_decoder_is_no_causal_model(tmp_path: Path, architecture: str, key: str) -> None:
    """transformers would load BART's decoder alone, without a word."""
    directory = make_model(tmp_path / "model", architecture)
    args = ModelArguments(**{key: str(directory)}, tokenizer_name=str(directory), dtype="float32")
    assert fault(args) == (
        f"{SECTION}.{key}: {directory} is an encoder-decoder model: use det_files.run_seq2seq"
    )
    load_model(args, kind=SEQ2SEQ)


def test_a_bare_decoder_is_a_causal_model(tmp_path: Path) -> None:
    directory = make_model(tmp_path / "model", "bart")
    decoder = AutoModelForCausalLM.from_pretrained(directory)
    shutil.copytree(directory, tmp_path / "decoder")
    decoder.save_pretrained(tmp_path / "decoder")
    model, _ = load_model(arguments(tmp_path / "decoder"))
    assert type(model).__name__ == "BartForCausalLM"


@pytest.mark.parametrize("architecture", ["t5", "mbart"])
def test_a_decoder_must_know_where_it_begins(tmp_path: Path, architecture: str) -> None:
    directory = make_model(tmp_path, architecture)
    config = json.loads((directory / "config.json").read_text())
    del config["decoder_start_token_id"]
    (directory / "config.json").write_text(json.dumps(config))
    if architecture == "mbart":  # it begins with a language
        load_model(arguments(directory), kind=SEQ2SEQ)
        return
    with pytest.raises(ConfigError) as caught:
        load_model(arguments(directory), kind=SEQ2SEQ)
    text = f"model_name_or_path: the configuration of {directory} has no decoder_start_token_id"
    assert text in str(caught.value)
