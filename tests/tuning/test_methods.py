"""apply_tuning: exactly the right parameters trainable, drawn from the seed alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from det_files.faults import ConfigError
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning
from det_files.tuning.targets import linear_layer_names
from tiny import make_model

TOKENIZER: Any = None  # only a prompt that begins as text asks for one
LAYERS = ["down_proj", "gate_proj", "k_proj", "lm_head", "o_proj", "q_proj", "up_proj", "v_proj"]


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model)


def trainable(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_full_trains_everything(model: Any) -> None:
    names = set(dict(model.named_parameters()))
    assert trainable(apply_tuning(model, TuningArguments(), TOKENIZER)) == names


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        ("all-linear", set(LAYERS) - {"lm_head"}),
        (["q_proj"], {"q_proj"}),
        ("q_proj", {"q_proj"}),
        ("q_proj, v_proj", {"q_proj", "v_proj"}),
        (r".*\.[kv]_proj", {"k_proj", "v_proj"}),
    ],
)
def test_lora_trains_adapters_of_its_layers_alone(model: Any, targets: Any, layers: set) -> None:
    before = {name: p.clone() for name, p in model.named_parameters()}
    tuned = apply_tuning(
        model, TuningArguments(method="lora", r=4, target_modules=targets), TOKENIZER
    )
    names = trainable(tuned)
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names} == layers
    ranks = {min(p.shape) for p in tuned.parameters() if p.requires_grad}
    assert ranks == {4}
    after = {name.replace(".base_layer", ""): p for name, p in model.named_parameters()}
    assert all(p.equal(after[name]) for name, p in before.items())


def test_adapters_depend_on_the_seed_alone(tiny_model: Path) -> None:
    def adapters(seed: int) -> list[Any]:
        torch.rand(seed + 1)  # whatever was drawn before
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        args = TuningArguments(method="lora", target_modules=["q_proj"])
        tuned = apply_tuning(base, args, TOKENIZER, seed)
        return [p for name, p in tuned.named_parameters() if "lora_A" in name]

    first, again, other = adapters(1), adapters(1), adapters(2)
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not any(a.equal(b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (["qq_proj"], "qq_proj matches no layer of this model; "),
        (["q_proj", "typo"], "typo matches no layer of this model; "),
        ("nothing.*", "nothing"),
        ("embed_tokenz", "embed_tokenz matches no layer of this model; "),
        ([], ""),
        (["layers"], ""),
    ],
)
def test_what_matches_no_layer_is_refused_with_those_there_are(
    model: Any, targets: Any, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_tuning(model, TuningArguments(method="lora", target_modules=targets), TOKENIZER)
    (fault,) = caught.value.faults
    assert fault.path == "hyperparameters.tuning_arguments.target_modules"
    assert reason in fault.message
    assert f"linear layers are: {', '.join(LAYERS)}" in fault.message
    assert ("did you mean" in fault.message) == (targets == ["qq_proj"])


@pytest.mark.parametrize("float32_adapters", [True, False])
@pytest.mark.parametrize(
    "args",
    [
        TuningArguments(method="lora", modules_to_save=["embed_tokens", "lm_head"]),
        TuningArguments(method="dora"),
        TuningArguments(method="ia3"),
        TuningArguments(method="prompt"),
        TuningArguments(method="p_tuning"),
        TuningArguments(method="prefix"),
    ],
    ids=lambda args: args.method,
)
def test_all_that_is_trained_has_float32_where_nothing_else_keeps_it(
    tiny_model: Path, args: TuningArguments, float32_adapters: bool
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    tuned = apply_tuning(base, args, TOKENIZER, float32_adapters=float32_adapters)
    found = {p.dtype for p in tuned.parameters() if p.requires_grad}
    assert found == {torch.float32 if float32_adapters else torch.bfloat16}
    assert {p.dtype for p in tuned.parameters() if not p.requires_grad} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("architecture", "targets"),
    [
        ("llama", ["k_proj", "v_proj", "down_proj"]),
        ("gpt2", ["c_attn", "mlp.c_proj"]),
        ("t5", ["k", "v", "wo"]),
    ],
)
def test_ia3_scales_the_same_for_pefts_targets_by_name(
    tmp_path: Path, architecture: str, targets: list[str]
) -> None:
    def feedforward(given: list[str] | None) -> dict[str, bool]:
        kind = AutoModelForSeq2SeqLM if architecture == "t5" else AutoModelForCausalLM
        base = kind.from_pretrained(tmp_path)
        args = TuningArguments(method="ia3", target_modules=given)
        tuned = apply_tuning(base, args, TOKENIZER)
        found = {n: getattr(m, "is_feedforward", None) for n, m in tuned.named_modules()}
        return {name: kind for name, kind in found.items() if kind is not None}

    make_model(tmp_path, architecture)
    wanted = feedforward(None)
    assert set(wanted.values()) == {True, False}
    got = feedforward(targets)
    assert got == {name: kind for name, kind in wanted.items() if name in got}
    assert set(got.values()) == {True, False}


def test_linear_layers(model: Any) -> None:
    assert linear_layer_names(model) == LAYERS
