"""Adapters of ZeRO-3 are saved whole: each tensor is what the ranks hold, gathered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from holding_ranks import HELD_FILE, IDS
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from conftest import RunJobs, Trial, set_arguments
from det_files.export.__main__ import main
from det_files.faults import ConfigError
from det_files.models import ModelArguments, load_model
from det_files.trained.locating import find_checkpoint
from det_files.tuning.adapters import load_adapter

ZERO = "overwrite_deepspeed_args__zero_optimization__"
SAVED = {"tuning_arguments__modules_to_save": ["embed_tokens", "lm_head"]}
# Without gathering of weights, which is about whole models: adapters are gathered all the same.
SCATTERED = {f"{ZERO}stage3_gather_16bit_weights_on_model_save": False}
TRIALS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora scattered": SCATTERED,
    "lora bfloat16": {"model_arguments__dtype": "bfloat16"},
    "lora larger vocabulary": SAVED,
    "lora larger vocabulary scattered": SAVED | SCATTERED,
    "dora": {},
}


@pytest.fixture(scope="module")
def extended(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens(["今日は", "天気"])
    tokenizer.save_pretrained(directory := tmp_path_factory.mktemp("extended"))
    return directory


@pytest.fixture(scope="module")
def trials(
    run_jobs: RunJobs,
    tiny_overrides: dict[str, Any],
    extended: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Trial]:
    """Trials on two ranks, each of which holds no parameter whole between its uses."""
    stage_3 = {
        "deepspeed_config": "ds_configs/ds_config_stage_3.json",
        f"{ZERO}stage3_param_persistence_threshold": 0,
        "training_arguments__per_device_train_batch_size": 4,
        "training_arguments__max_steps": 3,
    }
    jobs = {}
    for name, own in TRIALS.items():
        more = {"tuning_arguments__method": name.split()[0]} | own
        if "vocabulary" in name:
            more["model_arguments__tokenizer_name"] = str(extended)
        jobs[name] = set_arguments(tiny_overrides | stage_3 | more)
    return run_jobs(tmp_path_factory.mktemp("zero_3"), 2, jobs, "holding_ranks")


@pytest.mark.parametrize("name", TRIALS)
def test_what_is_saved_is_what_the_ranks_hold(
    name: str, trials: dict[str, Trial], tiny_model: Path, extended: Path
) -> None:
    trial = trials[name]
    assert f"trial {name} done" in trial.output, trial.output[-5000:]
    held = torch.load(trial.directory / HELD_FILE)
    assert held["elements_between_uses"] == 0  # the ranks had to be gathered from
    checkpoint = find_checkpoint(trial.directory, None)
    saved = load_file(checkpoint / "adapter_model.safetensors")
    assert all(tensor.numel() > 0 for tensor in saved.values())

    dtype = "bfloat16" if "bfloat16" in name else "float32"
    tokenizer = str(extended) if "vocabulary" in name else None
    source = ModelArguments(str(tiny_model), tokenizer_name=tokenizer, dtype=dtype)
    tuned = load_adapter(load_model(source)[0], str(checkpoint)).eval()
    # peft's own names, of the tensors that the ranks held.
    wanted = get_peft_model_state_dict(tuned, held["tensors"], save_embedding_layers=False)
    assert len(wanted) == len(held["tensors"]) > 0
    for key, tensor in wanted.items():
        assert saved[key].dtype == tensor.dtype, key
        assert torch.equal(saved[key], tensor), key
    # It has learned something, and answers as the ranks did.
    assert all(tensor.any() for key, tensor in saved.items() if "lora_B" in key)
    with torch.no_grad():
        logits = tuned(input_ids=IDS).logits
        with tuned.disable_adapter():
            untrained = tuned(input_ids=IDS).logits
    torch.testing.assert_close(logits, held["logits"])
    assert not torch.allclose(untrained, held["logits"])


def test_an_adapter_that_was_not_gathered_is_refused(
    trials: dict[str, Trial], tmp_path: Path
) -> None:
    """What a rank's own view of its parameters would be, and what none would be."""
    import shutil

    checkpoint = Path(
        shutil.copytree(find_checkpoint(trials["lora"].directory, None), tmp_path / "copy")
    )
    (checkpoint / "manifest.json").unlink()
    file = checkpoint / "adapter_model.safetensors"
    saved = load_file(file)
    words = [str(checkpoint), "--output", str(tmp_path / "out"), "--to"]

    def refused(tensors: dict[str, torch.Tensor], said: str, form: str = "adapter") -> None:
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(ConfigError, match=said):
            main([*words, form])
        assert not (tmp_path / "out").exists()

    refused({name: torch.empty(0) for name in saved}, rf"{len(saved)} of its {len(saved)} tensors")
    refused({}, "holds no tensors: the adapter was not gathered")
    some = dict(list(saved.items())[:5])
    refused(some, f"lacks base_model.* and {len(saved) - 6} others", "merged")
    file.unlink()
    with pytest.raises(ConfigError, match="of this adapter there are ZeRO shards alone"):
        main([*words, "adapter"])
