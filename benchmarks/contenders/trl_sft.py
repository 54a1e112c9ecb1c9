"""TRL's SFTTrainer, in the configurations that its documentation recommends for speed."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.contenders.pacing import Assignment, Pacer
from benchmarks.contenders.padded_trainer import load_model, load_tokenizer, peer_arguments
from benchmarks.contenders.rows import prompt_completion, read_rows
from benchmarks.contenders.work import LORA, Contender, Work

REQUIREMENT = "trl==1.16.0"
_END_TO_END = ("padding_free", "packed")


def missing() -> str | None:
    """What to do about TRL where it is not installed; None where it is."""
    if find_spec("trl") is not None:
        return None
    return f"TRL is not installed, and the comparison goes on without it: pip install {REQUIREMENT}"


def run(given: Assignment) -> None:
    """Trains on prompt and completion, of which the completion is learned."""
    import peft
    from trl import SFTConfig

    work, contender = given.work, given.contender
    if contender.compiled == "layers":
        # What `accelerate config` would set; TrainingArguments have no argument for it.
        os.environ["ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION"] = "true"
    tokenizer = load_tokenizer(work)
    model = load_model(work, contender, **_attention(work, contender))
    arguments = peer_arguments(given) | {
        "torch_compile": contender.compiled != "none",
        **layout_arguments(contender.layout, work.block_size),
    }
    start = time.perf_counter()
    dataset = read_dataset(work.data, work.rows, bool(tokenizer.chat_template))
    reading_s = time.perf_counter() - start
    trainer = timed_trainer()(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=peft.LoraConfig(task_type="CAUSAL_LM", **LORA)
        if work.method == "lora"
        else None,
    )
    facts = {"preparation_s": reading_s + trainer.preparation_s}
    Pacer(given, facts).attach(trainer)
    trainer.train()


def layout_arguments(layout: str, block_size: int) -> dict[str, Any]:
    """SFTConfig's arguments of a layout."""
    return {
        "completion_only_loss": True,
        # Without packing nothing need be cut; TRL refuses a limit where there is no padding.
        "max_length": block_size if layout == "packed" else None,
        "packing": layout == "packed",
        "packing_strategy": "bfd",
        "padding_free": layout in _END_TO_END,
        "train_sampling_strategy": "group_by_length" if layout == "grouped" else "random",
    }


def _attention(work: Work, contender: Contender) -> dict[str, str]:
    """Flash attention, which TRL asks for with rows end to end, where it is there and can run."""
    flash = find_spec("flash_attn") is not None and not work.on_cpu
    if contender.layout in _END_TO_END and flash and work.dtype == "bfloat16":
        return {"attn_implementation": "flash_attention_2"}
    return {}


def read_dataset(data: str | Path, limit: int | None, chat: bool) -> Any:
    """Rows from disk as a dataset of prompts and completions."""
    from datasets import Dataset

    return Dataset.from_list([prompt_completion(row, chat) for row in read_rows(data, limit)])


def timed_trainer() -> type:
    """SFTTrainer that knows how long its preparation of the dataset took (`preparation_s`)."""
    from trl import SFTTrainer

    class TimedTrainer(SFTTrainer):  # type: ignore[misc]
        preparation_s = preparation_cpu_s = 0.0

        def _prepare_dataset(self, *args: Any, **kwargs: Any) -> Any:
            start, cpu = time.perf_counter(), machine.cpu_seconds()
            prepared = super()._prepare_dataset(*args, **kwargs)
            self.preparation_s += time.perf_counter() - start
            self.preparation_cpu_s += machine.cpu_seconds() - cpu
            return prepared

    return TimedTrainer
