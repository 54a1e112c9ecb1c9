"""Adapters: continued where they left off, and refused where they do not belong."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from det_files.faults import ConfigError
from det_files.tuning.adapters import load_adapter
from det_files.tuning.arguments import TuningArguments
from det_files.tuning.methods import apply_tuning
from det_files.tuning.prompt_state import has_prompt, saving_prompt
from tiny import make_model

TOKENIZER: Any = None
METHODS = ["lora", "dora", "ia3", "prompt", "p_tuning", "prefix"]


def base(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def saved(tiny_model: Path, directory: Path, method: str) -> Any:
    """A tuned model that is not as new any more, and has been saved."""
    tuned = apply_tuning(base(tiny_model), TuningArguments(method=method), TOKENIZER)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter += 0.01
    with saving_prompt(tuned, directory, None) if has_prompt(tuned) else nullcontext():
        tuned.save_pretrained(directory)
    return tuned.eval()


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(5, 25).view(2, 10)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_goes_on_where_it_left_off(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    tuned = saved(tiny_model, tmp_path, method)
    again = apply_tuning(
        base(tiny_model), TuningArguments(method=method, adapter=str(tmp_path)), TOKENIZER
    )
    trained = {name for name, p in tuned.named_parameters() if p.requires_grad}
    assert {name for name, p in again.named_parameters() if p.requires_grad} == trained != set()
    torch.testing.assert_close(logits(again.eval()), logits(tuned))
    only_used = load_adapter(base(tiny_model), str(tmp_path))
    torch.testing.assert_close(logits(only_used.eval()), logits(tuned))


def test_what_is_saved_is_what_was_trained_alone(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    saved(tiny_model, tmp_path, "prompt")
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert shapes == {"prompt_embeddings": (20, 32)}


def test_an_adapter_of_another_method_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    saved(tiny_model, tmp_path, "dora")
    with pytest.raises(ConfigError, match="was made with method: dora, and not lora"):
        apply_tuning(
            base(tiny_model), TuningArguments(method="lora", adapter=str(tmp_path)), TOKENIZER
        )


@pytest.mark.parametrize("method", ["lora", "prompt", "prefix"])
def test_an_adapter_of_another_shape_is_refused_with_both_names(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    saved(tiny_model, tmp_path / "adapter", method)
    other = make_model(tmp_path / "other", hidden_size=48, head_dim=12)
    with pytest.raises(ConfigError) as caught:
        load_adapter(base(other), str(tmp_path / "adapter"))
    (fault,) = caught.value.faults
    assert fault.path == "hyperparameters.tuning_arguments.adapter"
    assert f"does not fit {other}: it was trained on {tiny_model}" in fault.message


@pytest.mark.parametrize(
    "shape",
    [
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 4},
        {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8},
    ],
)
def test_a_prefix_of_another_depth_is_refused(
    tiny_model: Path, tmp_path: Path, shape: dict[str, int]
) -> None:
    saved(tiny_model, tmp_path / "adapter", "prefix")
    other = make_model(tmp_path / "other", **shape)
    args = TuningArguments(method="prefix", adapter=str(tmp_path / "adapter"))
    for attempt in (
        lambda: load_adapter(base(other), str(tmp_path / "adapter")),
        lambda: apply_tuning(base(other), args, TOKENIZER),
    ):
        with pytest.raises(ConfigError, match=r"does not fit .* \(a prefix of num_"):
            attempt()


def test_the_same_model_under_another_name_is_a_warning(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuned = saved(tiny_model, tmp_path / "adapter", "lora")
    moved = make_model(tmp_path / "moved")
    with caplog.at_level(logging.WARNING):
        found = load_adapter(base(moved), str(tmp_path / "adapter"))
    assert f"was trained on {tiny_model}, and is put on {moved}" in caplog.text
    torch.testing.assert_close(logits(found.eval()), logits(tuned))


def test_a_path_that_was_relative_to_elsewhere_is_the_same_model(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tiny_model, tmp_path / "adapter", "lora")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(file.read_text().replace(str(tiny_model), "/".join(tiny_model.parts[-2:])))
    with caplog.at_level(logging.WARNING):
        load_adapter(base(tiny_model), str(tmp_path / "adapter"))
    assert "is put on" not in caplog.text


def test_what_is_no_adapter_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no directory with adapter_config\.json"):
        load_adapter(base(tiny_model), str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"adapter_config\.json cannot be read"):
        load_adapter(base(tiny_model), str(tmp_path))
