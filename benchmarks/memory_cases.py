"""The runs that benchmarks.memory measures: models, methods, stages, data."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.memory_predictions import PUBLISHED

# A tiny Llama, large enough that a counter of steps is nothing beside it.
TINY = {
    "vocab_size": 384,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
STEPS = 3


@dataclass(frozen=True)
class Case:
    """One run: `stage` is None without DeepSpeed; `training` goes over the defaults below.

    Rows have `tokens` of input and of output, of which some have fewer where they are `padded`;
    `own_buckets` are small, as the small models are, and DeepSpeed's otherwise.
    """

    model: str
    method: str
    stage: int | None
    ranks: int
    dtype: str = "float32"
    rows: int = 2
    tokens: tuple[int, int] = (96, 32)
    own_buckets: bool = True
    training: Mapping[str, Any] = field(default_factory=dict)
    zero: Mapping[str, Any] = field(default_factory=dict)
    padded: bool = False
    what: str = ""

    @property
    def name(self) -> str:
        stage = "no DeepSpeed" if self.stage is None else f"stage {self.stage}"
        ranks = "1 rank" if self.ranks == 1 else f"{self.ranks} ranks"
        return f"{self.model} {self.method} {self.dtype}, {stage}, {ranks}{self.what}"

    @property
    def data(self) -> str:
        """Which of `make_data`'s directories it reads."""
        return "padded" if self.padded else "short" if max(self.tokens) < 100 else "long"

    @property
    def kind(self) -> str:
        """As RunFacts has it."""
        return "seq2seq" if self.model == "flan_t5_xl" else "causal"


CHECKPOINTING = {"activation_checkpointing": True}
ACCUMULATION = {"gradient_accumulation_steps": 2}
OFFLOAD = {"offload_optimizer": {"device": "cpu"}}


def cases_of(model: str) -> list[Case]:
    """Every stage × method on 1 and 2 ranks, and one of each way out of memory."""
    found = [
        Case(model, method, stage, ranks)
        for method in ("full", "lora")
        for stage in (None, 1, 2, 3)
        for ranks in (1, 2)
    ]
    return [
        *found,
        Case(model, "full", 2, 2, "bfloat16"),
        Case(model, "lora", 3, 2, "bfloat16"),
        Case(model, "full", None, 1, "bfloat16"),
        Case(model, "full", 2, 2, training=CHECKPOINTING, what=", checkpointing"),
        Case(model, "full", 3, 2, training=CHECKPOINTING, what=", checkpointing"),
        Case(model, "lora", None, 1, training=CHECKPOINTING, what=", checkpointing"),
        Case(model, "full", 2, 2, training=ACCUMULATION, what=", 2 micro-batches"),
        Case(model, "full", 2, 2, zero=OFFLOAD, what=", optimizer offloaded"),
        Case(model, "full", None, 1, training={"optim": "adamw_torch_8bit"}, what=", 8-bit Adam"),
    ]


def gpu_cases_of(model: str) -> list[Case]:
    """The same on one GPU, with rows so long that kernels' own buffers are little beside them."""

    def case(method: str, stage: int | None, dtype: str = "bfloat16", **other: Any) -> Case:
        return Case(model, method, stage, 1, dtype, rows=4, tokens=(512, 512), **other)

    return [
        *(case("full", stage, "float32") for stage in (None, 1, 2, 3)),
        *(case("lora", stage, "float32") for stage in (None, 2, 3)),
        *(case("full", stage) for stage in (None, 2, 3)),
        case("lora", 2),
        case("full", 2, training=CHECKPOINTING, what=", checkpointing"),
        case("lora", 3, training=CHECKPOINTING, what=", checkpointing"),
        case("full", 2, training=ACCUMULATION, what=", 2 micro-batches"),
        case("full", 2, zero=OFFLOAD, what=", optimizer offloaded"),
        case("full", 2, padded=True, what=", padded"),
        case("lora", 2, "float32", padded=True, what=", padded"),
    ]


def published_cases() -> list[Case]:
    """Published models on one GPU of 80 GB, with the rows and buckets of experiments."""

    def case(model: str, method: str, stage: int, rows: int, **other: Any) -> Case:
        given = {"tokens": (1024, 1024), "own_buckets": False, "training": CHECKPOINTING}
        return Case(model, method, stage, 1, "bfloat16", rows, **(given | other))

    return [
        case("bloom_3b", "full", 2, 2, what=", checkpointing"),
        case("swallow_7b", "lora", 2, 4, what=", checkpointing"),
        case("swallow_7b", "lora", 3, 4, what=", checkpointing"),
        case("swallow_7b", "lora", 2, 1, training={}),
        case("bloom_3b", "full", 3, 2, what=", checkpointing"),
        case("flan_t5_xl", "full", 2, 2, tokens=(1024, 256), what=", checkpointing"),
        case("swallow_13b", "lora", 2, 2, what=", checkpointing"),
    ]


def hyperparameters(case: Case, model: Path, data: Path) -> dict[str, Any]:
    """The case as an experiment's hyperparameters."""
    config: dict[str, Any] = {
        "model_arguments": {"config_name_or_path": str(model), "dtype": case.dtype},
        "data_arguments": {
            "sources": [{"path": str(data)}],
            "chat_template": "none",
            "max_input_tokens": case.tokens[0],
            "max_output_tokens": case.tokens[1],
        },
        "tuning_arguments": {"method": case.method},
        "training_arguments": {
            "max_steps": STEPS,
            "per_device_train_batch_size": case.rows,
            "eval_strategy": "no",
            "save_strategy": "no",
            **case.training,
        },
    }
    if case.stage is not None:
        config["deepspeed_config"] = f"ds_configs/ds_config_stage_{case.stage}.json"
        section: dict[str, Any] = dict(case.zero)
        if case.stage < 3 and case.own_buckets:
            bucket = 3 * 10**5 if case.model == "tiny" else 10**7  # elements
            section |= {"reduce_bucket_size": bucket, "allgather_bucket_size": bucket}
        config["overwrite_deepspeed_args"] = {"zero_optimization": section}
    return config


def make_data(directory: Path) -> None:
    """Rows longer than all limits, so that all are cut to them; in `padded` every other is short.

    The short ones are for CPUs, where the memory of libraries that read rows is counted, too.
    """
    for name, count in (("short", 50), ("long", 700), ("padded", 700)):
        rng = random.Random(1)
        words = [f"{number} trees" for number in range(count)]
        for split in ("train", "val"):
            rows = [
                {
                    "input": " ".join(rng.choices(words, k=max(count, 200))),
                    "output": " ".join(words),
                }
                for _ in range(64)
            ]
            if name == "padded":
                for row in rows[::2]:
                    row["output"] = "50 trees"
            (directory / name / split).mkdir(parents=True)
            text = "".join(f"{json.dumps(row)}\n" for row in rows)
            (directory / name / split / "rows.jsonl").write_text(text, encoding="utf-8")


def make_model(name: str, directory: Path, tokenizer: Path) -> Path:
    """A configuration beside another's tokenizer, whose vocabulary it takes if its own is less."""
    import transformers

    found = transformers.AutoTokenizer.from_pretrained(tokenizer)
    found.save_pretrained(directory)
    kind, settings = ("llama", TINY) if name == "tiny" else PUBLISHED[name]
    vocabulary = max(len(found), int(settings["vocab_size"]))
    config = transformers.AutoConfig.for_model(kind, **(settings | {"vocab_size": vocabulary}))
    config.save_pretrained(directory)
    return directory
