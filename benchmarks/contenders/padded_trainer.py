"""The padded Trainer: transformers' own, with padding, its model's loss and peft's LoRA."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contenders.pacing import Assignment, Pacer
from benchmarks.contenders.rows import IGNORED, read_rows, tokenize
from benchmarks.contenders.work import LORA, Contender, Work, training_arguments


def run(given: Assignment) -> None:
    """Trains as transformers' documentation shows it."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    work, contender = given.work, given.contender
    tokenizer = load_tokenizer(work)
    model = load_model(work, contender)
    if work.method == "lora":
        import peft

        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **LORA))
    start = time.perf_counter()
    dataset = _dataset(work, tokenizer)
    facts = {"preparation_s": time.perf_counter() - start}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**peer_arguments(given)),
        train_dataset=dataset,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED),
        processing_class=tokenizer,
    )
    Pacer(given, facts).attach(trainer)
    trainer.train()


def _dataset(work: Work, tokenizer: Any) -> Any:
    from datasets import Dataset

    rows = Dataset.from_list(read_rows(work.data, work.rows))
    return rows.map(lambda row: tokenize(row, tokenizer), remove_columns=rows.column_names)


def load_tokenizer(work: Work) -> Any:
    """The model's tokenizer, with something to pad with."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(work.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(work: Work, contender: Contender, **options: Any) -> Any:
    """The model in the contender's dtype, with transformers' choice of attention."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, contender.weights)
    model = AutoModelForCausalLM.from_pretrained(work.model, dtype=dtype, **options)
    model.config.use_cache = False
    return model


def peer_arguments(given: Assignment) -> dict[str, Any]:
    """Arguments of a Trainer that is not ours; nothing is logged, which costs time."""
    return training_arguments(given.work, given.contender) | {
        "output_dir": str(given.place / "output"),
        "bf16": given.contender.autocast,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": not given.work.on_cpu,
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
