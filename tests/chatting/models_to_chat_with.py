"""Checkpoints that answer, though nothing was trained: random models with larger weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export_checkpoints import as_checkpoint

from tiny import make_model

# At the usual range of weights, all prompts have much the same answer.
LARGER = {"initializer_range": 0.3}
DATA = {"sources": [{"path": "data"}]}


def make_checkpoint(directory: Path, data: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The checkpoint of a full fine-tune and its base model beside it; `changes` of the model."""
    base = make_model(directory / "base", seed=1, **LARGER, **changes)
    tuned = make_model(directory / "tuned", seed=2, **LARGER, **changes)
    arguments = {"model_name_or_path": str(base), "dtype": "float32"}
    return as_checkpoint(tuned, model_arguments=arguments, data_arguments=DATA | (data or {}))


def never_end(model: Path) -> None:
    """Changes a random model so that the tokens that end a text are never the most probable."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        loaded.lm_head.weight[:4] = 0  # of some hundred others, one is above 0
    loaded.save_pretrained(model)


def make_adapter(directory: Path, method: str = "lora", **changes: Any) -> Path:
    """The checkpoint of a lora or prompt, random and large enough to change all answers."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    base = make_model(directory / "base", seed=1, **LARGER, **changes)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(3)
    config = {
        "lora": peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
        "prompt": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    }[method]
    adapter = directory / "adapter"
    peft.get_peft_model(model, config).save_pretrained(adapter)
    return as_checkpoint(
        adapter,
        model_arguments={"model_name_or_path": str(base), "dtype": "float32"},
        data_arguments=DATA,
        tuning_arguments={"method": method},
    )


def without_chat_template(model: Path) -> None:
    """Takes the chat template from a model's tokenizer."""
    (model / "chat_template.jinja").unlink(missing_ok=True)
    file = model / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings.pop("chat_template", None)
    file.write_text(json.dumps(settings))
