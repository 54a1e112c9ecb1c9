"""Tuning: arguments read strictly; exactly the right parameters trainable on the tiny model."""

from pathlib import Path
from typing import Any

import pytest

from det_files.faults import ConfigError, Faults
from det_files.tuning import (
    TuningArguments,
    apply_tuning,
    linear_layer_names,
    read_tuning_arguments,
)

LAYERS = ["down_proj", "gate_proj", "k_proj", "lm_head", "o_proj", "q_proj", "up_proj", "v_proj"]


def read(mapping: dict[str, Any]) -> tuple[TuningArguments, list[str]]:
    faults = Faults()
    return read_tuning_arguments("t", mapping, faults), [str(fault) for fault in faults.found]


@pytest.mark.parametrize(
    "mapping",
    [{}, {"method": "full"}, {"method": "lora", "r": 4, "lora_alpha": 8, "target_modules": ["q"]}],
)
def test_arguments(mapping: dict[str, Any]) -> None:
    assert read(mapping) == (TuningArguments(**mapping), [])


EITHER = {"type": "categorical", "vals": ["lora", "full"]}


@pytest.mark.parametrize(
    ("mapping", "faults"),
    [
        ({"methd": "lora"}, ['t.methd: unknown key; did you mean "method"?']),
        ({"method": "lor"}, ['t.method: expected one of full, lora, got "lor"; '
                             'did you mean "lora"?']),
        ({"method": "lora", "r": 0, "lora_alpha": 0, "lora_dropout": 1.5}, [
            "t.r: expected >= 1, got 0", "t.lora_alpha: expected > 0, got 0.0",
            "t.lora_dropout: expected <= 1, got 1.5"]),
        ({"r": 8}, ["t.r: has no effect with method: full; did you mean lora?"]),
        ({"method": EITHER, "r": 8}, ["t.r: has no effect with method: full; did you mean lora?"]),
        ({"method": EITHER}, []),
    ],
)  # fmt: skip
def test_faults(mapping: dict[str, Any], faults: list[str]) -> None:
    """With a search over both methods r is refused too: a trial that draws full would be."""
    assert read(mapping)[1] == faults


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model)


def trainable(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_full_trains_everything(model: Any) -> None:
    names = set(dict(model.named_parameters()))
    assert trainable(apply_tuning(model, TuningArguments())) == names


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
    tuned = apply_tuning(model, TuningArguments(method="lora", r=4, target_modules=targets))
    names = trainable(tuned)
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names} == layers
    ranks = {min(p.shape) for p in tuned.parameters() if p.requires_grad}
    assert ranks == {4}
    after = {name.replace(".base_layer", ""): p for name, p in model.named_parameters()}
    assert all(p.equal(after[name]) for name, p in before.items())


def test_adapters_depend_on_the_seed_alone(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    def adapters(seed: int) -> list[Any]:
        torch.rand(seed + 1)  # whatever was drawn before
        base = AutoModelForCausalLM.from_pretrained(tiny_model)
        tuned = apply_tuning(base, TuningArguments(method="lora", target_modules=["q_proj"]), seed)
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
        apply_tuning(model, TuningArguments(method="lora", target_modules=targets))
    (fault,) = caught.value.faults
    assert fault.path == "hyperparameters.tuning_arguments.target_modules"
    assert reason in fault.message
    assert f"linear layers are: {', '.join(LAYERS)}" in fault.message
    assert ("did you mean" in fault.message) == (targets == ["qq_proj"])


def test_linear_layers(model: Any) -> None:
    assert linear_layer_names(model) == LAYERS
